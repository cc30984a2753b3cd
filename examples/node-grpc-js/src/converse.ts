// A conversation on one stream: an answer that is interrupted, then another question.

import {
  type ConversationOpen,
  ConversationTurn,
  type ConverseRequest,
  type ConverseResponse,
  GenerateRequest,
} from "../gen/ts-grpc-js/marsys/v1/inference_service.js";
import { FinishReason } from "../gen/ts-grpc-js/marsys/v1/response.js";
import { Answer } from "./answer.js";
import { type InferenceServiceClient, metadata, within } from "./client.js";
import { describeModelError } from "./failure.js";
import { userMessage } from "./messages.js";
import { runTool, WEATHER } from "./weather.js";

const QUESTIONS = ["Count from one to five hundred, in words.", "What is the weather in Rome? Use the tool."];

/** Asks, interrupts the answer at its first words, asks again, and ends the conversation. */
export async function converse(client: InferenceServiceClient, model: string): Promise<void> {
  const call = client.converse(metadata(), within(300));
  const say = (input: ConverseRequest["input"]) => call.write({ input });
  const ask = (text: string) =>
    say({ $case: "turn", value: ConversationTurn.fromPartial({ messages: [userMessage(text)] }) });

  const questions = QUESTIONS.values();
  let answer = new Answer();
  let interrupted = false;
  let over = false;
  say({ $case: "open", value: opening(model) });
  for await (const { output } of call as AsyncIterable<ConverseResponse>) {
    switch (output?.$case) {
      case "opened":
        console.log(`opened: ${output.value.conversationId}`);
        ask(questions.next().value!);
        break;
      case "turnEvents": {
        const { turn, events } = output.value;
        for (const event of events) {
          answer.feed(event);
          if (event.event?.$case === "partDelta" && !interrupted) {
            interrupted = true;
            say({ $case: "interrupt", value: { turn } });
          }
        }
        if (answer.finishReason === undefined) break;
        console.log(`turn ${turn} is over`);
        if (answer.finishReason === FinishReason.FINISH_REASON_TOOL_CALLS) {
          say({ $case: "toolResults", value: { results: answer.toolCalls().map(runTool) } });
        } else {
          const question = questions.next();
          if (!question.done) {
            ask(question.value);
          } else {
            over = true;
            call.end();
          }
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

function opening(model: string): ConversationOpen {
  const template = GenerateRequest.fromPartial({ model, tools: [WEATHER], config: { maxTokens: 256 } });
  return { template };
}
