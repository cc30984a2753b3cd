// Messages to send and to read.

import { type Message, type Part, Role, type ToolResultPart } from "../gen/ts-grpc-js/marsys/v1/content.js";
import { UnsupportedPolicy } from "../gen/ts-grpc-js/marsys/v1/generation.js";
import { GenerateRequest } from "../gen/ts-grpc-js/marsys/v1/inference_service.js";

/** A request to continue `messages`. A model that takes no temperature says so in a warning. */
export function requestOf(model: string, ...messages: Message[]): GenerateRequest {
  return GenerateRequest.fromPartial({
    model,
    messages,
    config: { maxTokens: 256, temperature: 0 },
    onUnsupported: UnsupportedPolicy.UNSUPPORTED_POLICY_WARN,
  });
}

/** What the user says. */
export function userMessage(text: string): Message {
  const part: Part = { content: { $case: "text", value: { text, citations: [] } } };
  return { role: Role.ROLE_USER, parts: [part] };
}

/** The results of tools, as a message. */
export function toolMessage(results: ToolResultPart[]): Message {
  const parts = results.map((value): Part => ({ content: { $case: "toolResult", value } }));
  return { role: Role.ROLE_TOOL, parts };
}

/** The text of a message, its other parts left out. */
export function textOf(message: Message | undefined): string {
  const texts = (message?.parts ?? []).map(({ content }) =>
    content?.$case === "text" ? content.value.text : "",
  );
  return texts.join("");
}
