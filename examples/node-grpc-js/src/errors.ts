// A request that no service takes, and what its error tells.

import { GenerateRequest } from "../gen/ts-grpc-js/marsys/v1/inference_service.js";
import type { InferenceServiceClient } from "./client.js";
import { describeFailure, detailsOf, isServiceError } from "./failure.js";
import { userMessage } from "./messages.js";
import { generate } from "./unary.js";

/** Sends a temperature that is too high and prints the error. */
export async function showError(client: InferenceServiceClient, model: string): Promise<void> {
  const request = GenerateRequest.fromPartial({
    model,
    messages: [userMessage("Hello")],
    config: { temperature: 9 },
  });
  try {
    await generate(client, request);
  } catch (error) {
    if (!isServiceError(error) || detailsOf(error).modelError?.field !== "config.temperature") throw error;
    console.log(describeFailure(error));
    return;
  }
  throw new Error("the service took a temperature of 9");
}
