// A streamed answer for which the model calls a tool.

import type { GenerateRequest, StreamGenerateResponse } from "../gen/ts-grpc-js/marsys/v1/inference_service.js";
import { FinishReason } from "../gen/ts-grpc-js/marsys/v1/response.js";
import { type ToolChoice, ToolChoiceMode } from "../gen/ts-grpc-js/marsys/v1/tool.js";
import { Answer } from "./answer.js";
import { type InferenceServiceClient, metadata, within } from "./client.js";
import { requestOf, toolMessage, userMessage } from "./messages.js";
import { runTool, WEATHER } from "./weather.js";

const ROUNDS = 4; // most generations for one question

/** Asks for the weather, runs the tool that the model calls, and prints the answer. */
export async function streamWithTools(client: InferenceServiceClient, model: string): Promise<void> {
  const messages = [userMessage("What is the weather in Paris? Use the tool.")];
  for (let round = 1; round <= ROUNDS; round++) {
    const request = requestOf(model, ...messages);
    request.tools = [WEATHER];
    request.toolChoice = { choice: choiceOf(round) };
    const answer = await stream(client, request);
    console.log(`round ${round}: ${FinishReason[answer.finishReason!]}`);
    if (answer.finishReason !== FinishReason.FINISH_REASON_TOOL_CALLS) {
      if (round === 1) throw new Error("the model called no tool");
      return;
    }
    messages.push(answer.message, toolMessage(answer.toolCalls().map(runTool)));
  }
}

/** The first round must call the tool, the last must not call any. */
function choiceOf(round: number): ToolChoice["choice"] {
  if (round === 1) return { $case: "toolName", value: WEATHER.name };
  const mode = round === ROUNDS ? ToolChoiceMode.TOOL_CHOICE_MODE_NONE : ToolChoiceMode.TOOL_CHOICE_MODE_AUTO;
  return { $case: "mode", value: mode };
}

/**
 * Streams one generation.
 * @throws ServiceError: the call failed. Error: the stream broke off.
 */
async function stream(client: InferenceServiceClient, request: GenerateRequest): Promise<Answer> {
  const answer = new Answer();
  const call = client.streamGenerate({ request }, metadata(), within(120));
  try {
    for await (const { events } of call as AsyncIterable<StreamGenerateResponse>) {
      for (const event of events) answer.feed(event);
    }
  } finally {
    call.cancel(); // a call that is not read to its end would keep the process
  }
  if (answer.finishReason === undefined) throw new Error("the stream ended before its last event");
  return answer;
}
