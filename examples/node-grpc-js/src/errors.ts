// A request that no service takes, and what its error tells.

import type { InferenceServiceClient } from "./client.js";
import { describeFailure, detailsOf, isServiceError } from "./failure.js";
import { requestOf, userMessage } from "./messages.js";
import { generate } from "./unary.js";

/** Sends a temperature that is too high and prints the error. */
export async function showError(client: InferenceServiceClient, model: string): Promise<void> {
  const request = requestOf(model, userMessage("Hello"));
  request.config!.temperature = 9;
  try {
    await generate(client, request);
  } catch (error) {
    if (!isServiceError(error) || detailsOf(error).modelError?.field !== "config.temperature") throw error;
    console.log(describeFailure(error));
    return;
  }
  throw new Error("the service took a temperature of 9");
}
