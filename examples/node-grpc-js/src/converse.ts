// A conversation on one stream: an answer that is interrupted, then another question.

import {
  ConversationTurn,
  type ConverseRequest,
  type ConverseResponse,
} from "../gen/ts-grpc-js/marsys/v1/inference_service.js";
import { FinishReason } from "../gen/ts-grpc-js/marsys/v1/response.js";
import { Answer } from "./answer.js";
import { type InferenceServiceClient, metadata, within } from "./client.js";
import { describeModelError } from "./failure.js";
import { requestOf, userMessage } from "./messages.js";

const QUESTIONS = ["Write a very long story about a ship.", "What is the capital of France?"];

/** Asks, interrupts the answer at its first words, asks again, and ends the conversation. */
export async function converse(client: InferenceServiceClient, model: string): Promise<void> {
  const call = client.converse(metadata(), within(300));
  const say = (input: ConverseRequest["input"]) => call.write({ input });
  const ask = (text: string) =>
    say({ $case: "turn", value: ConversationTurn.fromPartial({ messages: [userMessage(text)] }) });

  const [first, ...further] = QUESTIONS;
  let answer = new Answer();
  let over = false;
  say({ $case: "open", value: { template: requestOf(model) } });
  try {
    for await (const { output } of call as AsyncIterable<ConverseResponse>) {
      switch (output?.$case) {
        case "opened":
          console.log(`opened: ${output.value.conversationId}`);
          ask(first!);
          break;
        case "turnEvents": {
          const { turn, events } = output.value;
          const silent = !answer.begun;
          for (const event of events) answer.feed(event);
          if (turn === 1 && silent && answer.begun) say({ $case: "interrupt", value: { turn } });
          if (answer.finishReason === undefined) break;
          console.log(`turn ${turn}: ${FinishReason[answer.finishReason]}`);
          const question = further.shift();
          if (question !== undefined) {
            ask(question);
          } else {
            over = true;
            call.end();
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
  } finally {
    call.cancel(); // a call that is not read to its end would keep the process
  }
  if (!over) throw new Error("the conversation ended early");
}
