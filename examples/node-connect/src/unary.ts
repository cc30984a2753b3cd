// One question, one whole answer.

import { FinishReason } from "../gen/ts/marsys/v1/response_pb.js";
import type { InferenceClient } from "./client.js";
import { textOf, userMessage } from "./messages.js";

/** Asks a question and prints the answer. */
export async function unary(client: InferenceClient, model: string): Promise<void> {
  const messages = [userMessage("What is the capital of France?")];
  const response = await client.generate({ model, messages, config: { maxTokens: 256 } }, { timeoutMs: 120_000 });
  console.log(textOf(response.message));
  console.log(`finish: ${FinishReason[response.finishReason]}`);
  // Absent is unknown, which is not zero.
  const { inputTokens, outputTokens } = response.usage ?? {};
  console.log(`tokens: ${inputTokens ?? "?"} in, ${outputTokens ?? "?"} out`);
}
