// A tool: its definition for the model, and the function behind it.

import type { ToolCallPart, ToolResultPart } from "../gen/ts-grpc-js/marsys/v1/content.js";
import { ToolDefinition } from "../gen/ts-grpc-js/marsys/v1/tool.js";

export const WEATHER = ToolDefinition.fromPartial({
  name: "get_weather",
  description: "The weather in a city",
  parametersJson: JSON.stringify({
    type: "object",
    properties: { city: { type: "string", description: "Name of the city" } },
    required: ["city"],
    additionalProperties: false,
  }),
});

/** Runs a call. What is wrong with it is told to the model, which may call again. */
export function runTool(call: ToolCallPart): ToolResultPart {
  console.log(`tool call: ${call.name}(${call.argumentsJson})`);
  try {
    return result(call, getWeather(call), false);
  } catch (error) {
    return result(call, String(error), true);
  }
}

function getWeather({ name, argumentsJson, incomplete }: ToolCallPart): string {
  if (incomplete) throw new Error("the call was cut off");
  if (name !== WEATHER.name) throw new Error(`there is no tool ${name}`);
  const { city } = JSON.parse(argumentsJson) as { city?: unknown };
  if (typeof city !== "string") throw new Error("city must be a string");
  return JSON.stringify({ city, celsius: 21, sky: "clear" });
}

function result(call: ToolCallPart, text: string, isError: boolean): ToolResultPart {
  console.log(`tool result: ${text}`);
  const content = [{ content: { $case: "text" as const, value: { text, citations: [] } } }];
  return { toolCallId: call.id, name: call.name, content, isError };
}
