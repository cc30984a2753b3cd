// One question, one whole answer.

import { FinishReason } from "../gen/ts-grpc-js/marsys/v1/response.js";
import { GenerateRequest, type GenerateResponse } from "../gen/ts-grpc-js/marsys/v1/inference_service.js";
import { type InferenceServiceClient, metadata, within } from "./client.js";
import { textOf, userMessage } from "./messages.js";

/** Asks a question and prints the answer. */
export async function unary(client: InferenceServiceClient, model: string): Promise<void> {
  const request = GenerateRequest.fromPartial({
    model,
    messages: [userMessage("What is the capital of France?")],
    config: { maxTokens: 256 },
  });
  const response = await generate(client, request);
  console.log(textOf(response.message));
  console.log(`finish: ${FinishReason[response.finishReason]}`);
  // Absent is unknown, which is not zero.
  const { inputTokens = "?", outputTokens = "?" } = response.usage ?? {};
  console.log(`tokens: ${inputTokens} in, ${outputTokens} out`);
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
