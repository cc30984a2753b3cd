#include "weather.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <iostream>
#include <stdexcept>
#include <string>

using namespace marsys::v1;
using google::protobuf::Struct;
using google::protobuf::Value;
namespace json = google::protobuf::util;

namespace {

constexpr char kName[] = "get_weather";

std::string get_weather(const ToolCallPart& call) {
  if (call.incomplete()) throw std::runtime_error("the call was cut off");
  if (call.name() != kName) throw std::runtime_error("there is no tool " + call.name());
  Struct arguments;
  if (!json::JsonStringToMessage(call.arguments_json(), &arguments).ok()) {
    throw std::runtime_error("the arguments are no JSON object");
  }
  const auto city = arguments.fields().find("city");
  if (city == arguments.fields().end() || city->second.kind_case() != Value::kStringValue) {
    throw std::runtime_error("city must be a string");
  }
  Struct weather;
  (*weather.mutable_fields())["city"] = city->second;
  (*weather.mutable_fields())["celsius"].set_number_value(21);
  (*weather.mutable_fields())["sky"].set_string_value("clear");
  std::string text;
  if (!json::MessageToJsonString(weather, &text).ok()) throw std::runtime_error("no JSON");
  return text;
}

}  // namespace

ToolDefinition weather_tool() {
  ToolDefinition tool;
  tool.set_name(kName);
  tool.set_description("The weather in a city");
  tool.set_parameters_json(R"({
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Name of the city"}},
    "required": ["city"],
    "additionalProperties": false
  })");
  return tool;
}

ToolResultPart run_tool(const ToolCallPart& call) {
  std::cout << "tool call: " << call.name() << "(" << call.arguments_json() << ")\n";
  ToolResultPart result;
  result.set_tool_call_id(call.id());
  result.set_name(call.name());
  std::string text;
  try {
    text = get_weather(call);
  } catch (const std::runtime_error& error) {
    text = error.what();
    result.set_is_error(true);
  }
  result.add_content()->mutable_text()->set_text(text);
  std::cout << "tool result: " << text << std::endl;
  return result;
}
