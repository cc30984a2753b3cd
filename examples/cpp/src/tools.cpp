#include <iostream>

#include "answer.h"
#include "demos.h"
#include "messages.h"
#include "reading.h"
#include "weather.h"

using namespace marsys::v1;

namespace {

constexpr int kRounds = 4;  // most generations for one question

// The first round must call the tool, the last must not call any.
ToolChoice choice_of(int round) {
  ToolChoice choice;
  if (round == 1) {
    choice.set_tool_name(weather_tool().name());
  } else {
    choice.set_mode(round == kRounds ? TOOL_CHOICE_MODE_NONE : TOOL_CHOICE_MODE_AUTO);
  }
  return choice;
}

Answer stream(Client& client, const GenerateRequest& request) {
  StreamGenerateRequest wrapped;
  *wrapped.mutable_request() = request;
  grpc::ClientContext context;
  prepare(context, std::chrono::seconds(120));
  auto reader = client.StreamGenerate(&context, wrapped);

  Answer answer;
  read_all<StreamGenerateResponse>(context, *reader, [&](const auto& response) {
    for (const auto& event : response.events()) answer.feed(event);
  });
  if (!answer.finish_reason()) throw std::runtime_error("the stream ended before its last event");
  return answer;
}

}  // namespace

void stream_with_tools(Client& client, const std::string& model) {
  GenerateRequest request = request_of(model);
  *request.add_messages() = user_message("What is the weather in Paris? Use the tool.");
  *request.add_tools() = weather_tool();
  for (int round = 1; round <= kRounds; ++round) {
    *request.mutable_tool_choice() = choice_of(round);
    const Answer answer = stream(client, request);
    std::cout << "round " << round << ": " << FinishReason_Name(*answer.finish_reason())
              << std::endl;
    if (answer.finish_reason() != FINISH_REASON_TOOL_CALLS) {
      if (round == 1) throw std::runtime_error("the model called no tool");
      return;
    }
    std::vector<ToolResultPart> results;
    for (const auto& call : answer.tool_calls()) results.push_back(run_tool(call));
    *request.add_messages() = answer.message();
    *request.add_messages() = tool_message(results);
  }
}
