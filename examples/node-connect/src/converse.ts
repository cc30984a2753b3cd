// A conversation on one stream: an answer that is interrupted, then another question.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createWritableIterable } from "@connectrpc/connect/protocol";
import { type ConverseRequest, ConverseRequestSchema } from "../gen/ts/marsys/v1/inference_service_pb.js";
import { FinishReason } from "../gen/ts/marsys/v1/response_pb.js";
import { Answer } from "./answer.js";
import { type InferenceClient, responsesOf } from "./client.js";
import { describeModelError } from "./failure.js";
import { requestOf, userMessage } from "./messages.js";

type Input = MessageInitShape<typeof ConverseRequestSchema>["input"];

const QUESTIONS = ["Write a very long story about a ship.", "What is the capital of France?"];

/** Asks, interrupts the answer at its first words, asks again, and ends the conversation. */
export async function converse(client: InferenceClient, model: string): Promise<void> {
  const requests = createWritableIterable<ConverseRequest>();
  const say = (input: Input) => requests.write(create(ConverseRequestSchema, { input }));
  const ask = (text: string) => say({ case: "turn", value: { messages: [userMessage(text)] } });

  const [first, ...further] = QUESTIONS;
  let answer = new Answer();
  let over = false;
  // It is sent once the call begins, below, which tells if it fails.
  say({ case: "open", value: { template: requestOf(model) } }).catch(() => undefined);
  const start = (signal: AbortSignal) => client.converse(requests, { timeoutMs: 300_000, signal });
  for await (const { output } of responsesOf(start)) {
    switch (output.case) {
      case "opened":
        console.log(`opened: ${output.value.conversationId}`);
        await ask(first!);
        break;
      case "turnEvents": {
        const { turn, events } = output.value;
        const silent = !answer.begun;
        for (const event of events) answer.feed(event);
        if (turn === 1 && silent && answer.begun) await say({ case: "interrupt", value: { turn } });
        if (answer.finishReason === undefined) break;
        console.log(`turn ${turn}: ${FinishReason[answer.finishReason]}`);
        const question = further.shift();
        if (question !== undefined) {
          await ask(question);
        } else {
          over = true;
          requests.close();
        }
        answer = new Answer();
        break;
      }
      case "turnFailed":
        throw new Error(`turn ${output.value.turn} failed\n${describeModelError(output.value.error)}`);
      case "goingAway":
        throw new Error("the service shuts down: open the conversation again elsewhere");
    }
  }
  if (!over) throw new Error("the conversation ended early");
}
