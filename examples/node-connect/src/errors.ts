// A request that no service takes, and what its error tells.

import type { InferenceClient } from "./client.js";
import { describeFailure, modelErrorOf } from "./failure.js";
import { requestOf, userMessage } from "./messages.js";

/** Sends a temperature that is too high and prints the error. */
export async function showError(client: InferenceClient, model: string): Promise<void> {
  const request = requestOf(model, userMessage("Hello"));
  request.config!.temperature = 9;
  try {
    await client.generate(request, { timeoutMs: 120_000 });
  } catch (error) {
    if (modelErrorOf(error)?.field !== "config.temperature") throw error;
    console.log(describeFailure(error));
    return;
  }
  throw new Error("the service took a temperature of 9");
}
