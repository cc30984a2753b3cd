// One question, one whole answer.

import { FinishReason } from "../gen/ts/marsys/v1/response_pb.js";
import type { InferenceClient } from "./client.js";
import { requestOf, textOf, userMessage } from "./messages.js";

/** Asks a question and prints the answer. */
export async function unary(client: InferenceClient, model: string): Promise<void> {
  const request = requestOf(model, userMessage("What is the capital of France?"));
  const response = await client.generate(request, { timeoutMs: 120_000 });
  console.log(`answer: ${textOf(response.message)}`);
  console.log(`finish: ${FinishReason[response.finishReason]}`);
  // Absent is unknown, which is not zero.
  const { inputTokens, outputTokens } = response.usage ?? {};
  console.log(`tokens: ${inputTokens ?? "?"} in, ${outputTokens ?? "?"} out`);
  for (const { message } of response.warnings) console.log(`warning: ${message}`);
}
