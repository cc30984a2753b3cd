#include "messages.h"

using namespace marsys::v1;

GenerateRequest request_of(const std::string& model) {
  GenerateRequest request;
  request.set_model(model);
  request.mutable_config()->set_max_tokens(256);
  request.mutable_config()->set_temperature(0);
  request.set_on_unsupported(UNSUPPORTED_POLICY_WARN);
  return request;
}

Message user_message(const std::string& text) {
  Message message;
  message.set_role(ROLE_USER);
  message.add_parts()->mutable_text()->set_text(text);
  return message;
}

Message tool_message(const std::vector<ToolResultPart>& results) {
  Message message;
  message.set_role(ROLE_TOOL);
  for (const auto& result : results) *message.add_parts()->mutable_tool_result() = result;
  return message;
}

std::string text_of(const Message& message) {
  std::string text;
  for (const auto& part : message.parts()) text += part.text().text();
  return text;
}
