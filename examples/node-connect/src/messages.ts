// Messages to send and to read.

import { create } from "@bufbuild/protobuf";
import { type Message, MessageSchema, Role, type ToolResultPart } from "../gen/ts/marsys/v1/content_pb.js";
import { UnsupportedPolicy } from "../gen/ts/marsys/v1/generation_pb.js";
import { type GenerateRequest, GenerateRequestSchema } from "../gen/ts/marsys/v1/inference_service_pb.js";

/** A request to continue `messages`. A model that takes no temperature says so in a warning. */
export function requestOf(model: string, ...messages: Message[]): GenerateRequest {
  return create(GenerateRequestSchema, {
    model,
    messages,
    config: { maxTokens: 256, temperature: 0 },
    onUnsupported: UnsupportedPolicy.WARN,
  });
}

/** What the user says. */
export function userMessage(text: string): Message {
  const parts = [{ content: { case: "text" as const, value: { text } } }];
  return create(MessageSchema, { role: Role.USER, parts });
}

/** The results of tools, as a message. */
export function toolMessage(results: ToolResultPart[]): Message {
  const parts = results.map((value) => ({ content: { case: "toolResult" as const, value } }));
  return create(MessageSchema, { role: Role.TOOL, parts });
}

/** The text of a message, its other parts left out. */
export function textOf(message: Message | undefined): string {
  const texts = (message?.parts ?? []).map(({ content }) => (content.case === "text" ? content.value.text : ""));
  return texts.join("");
}
