// One question, one whole answer.

import { FinishReason } from "../gen/ts-grpc-js/marsys/v1/response.js";
import type { GenerateRequest, GenerateResponse } from "../gen/ts-grpc-js/marsys/v1/inference_service.js";
import { type InferenceServiceClient, metadata, within } from "./client.js";
import { requestOf, textOf, userMessage } from "./messages.js";

/** Asks a question and prints the answer. */
export async function unary(client: InferenceServiceClient, model: string): Promise<void> {
  const response = await generate(client, requestOf(model, userMessage("What is the capital of France?")));
  console.log(`answer: ${textOf(response.message)}`);
  console.log(`finish: ${FinishReason[response.finishReason]}`);
  // Absent is unknown, which is not zero.
  const { inputTokens = "?", outputTokens = "?" } = response.usage ?? {};
  console.log(`tokens: ${inputTokens} in, ${outputTokens} out`);
  for (const { message } of response.warnings) console.log(`warning: ${message}`);
}

/**
 * Generate as a promise.
 * @throws ServiceError: the call failed.
 */
export function generate(client: InferenceServiceClient, request: GenerateRequest): Promise<GenerateResponse> {
  return new Promise((resolve, reject) => {
    client.generate(request, metadata(), within(120), (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}
