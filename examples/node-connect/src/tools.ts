// A streamed answer for which the model calls a tool.

import { create } from "@bufbuild/protobuf";
import type { GenerateRequest } from "../gen/ts/marsys/v1/inference_service_pb.js";
import { FinishReason } from "../gen/ts/marsys/v1/response_pb.js";
import { type ToolChoice, ToolChoiceMode, ToolChoiceSchema } from "../gen/ts/marsys/v1/tool_pb.js";
import { Answer } from "./answer.js";
import { type InferenceClient, responsesOf } from "./client.js";
import { requestOf, toolMessage, userMessage } from "./messages.js";
import { runTool, WEATHER } from "./weather.js";

const ROUNDS = 4; // most generations for one question

/** Asks for the weather, runs the tool that the model calls, and prints the answer. */
export async function streamWithTools(client: InferenceClient, model: string): Promise<void> {
  const messages = [userMessage("What is the weather in Paris? Use the tool.")];
  for (let round = 1; round <= ROUNDS; round++) {
    const request = requestOf(model, ...messages);
    request.tools = [WEATHER];
    request.toolChoice = choiceOf(round);
    const answer = await stream(client, request);
    console.log(`round ${round}: ${FinishReason[answer.finishReason!]}`);
    if (answer.finishReason !== FinishReason.TOOL_CALLS) {
      if (round === 1) throw new Error("the model called no tool");
      return;
    }
    messages.push(answer.message, toolMessage(answer.toolCalls().map(runTool)));
  }
}

/** The first round must call the tool, the last must not call any. */
function choiceOf(round: number): ToolChoice {
  if (round === 1) return create(ToolChoiceSchema, { choice: { case: "toolName", value: WEATHER.name } });
  const mode = round === ROUNDS ? ToolChoiceMode.NONE : ToolChoiceMode.AUTO;
  return create(ToolChoiceSchema, { choice: { case: "mode", value: mode } });
}

/**
 * Streams one generation.
 * @throws ConnectError: the call failed. Error: the stream broke off.
 */
async function stream(client: InferenceClient, request: GenerateRequest): Promise<Answer> {
  const answer = new Answer();
  const start = (signal: AbortSignal) => client.streamGenerate({ request }, { timeoutMs: 120_000, signal });
  for await (const { events } of responsesOf(start)) {
    for (const event of events) answer.feed(event);
  }
  if (answer.finishReason === undefined) throw new Error("the stream ended before its last event");
  return answer;
}
