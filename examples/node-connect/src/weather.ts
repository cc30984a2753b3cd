// A tool: its definition for the model, and the function behind it.

import { create } from "@bufbuild/protobuf";
import { type ToolCallPart, type ToolResultPart, ToolResultPartSchema } from "../gen/ts/marsys/v1/content_pb.js";
import { ToolDefinitionSchema } from "../gen/ts/marsys/v1/tool_pb.js";

export const WEATHER = create(ToolDefinitionSchema, {
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
  const content = [{ content: { case: "text" as const, value: { text } } }];
  return create(ToolResultPartSchema, { toolCallId: call.id, name: call.name, content, isError });
}
