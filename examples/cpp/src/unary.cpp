#include <iostream>

#include "demos.h"
#include "failure.h"
#include "messages.h"

using namespace marsys::v1;

namespace {

// Absent is unknown, which is not zero.
std::string count(bool known, std::int64_t tokens) { return known ? std::to_string(tokens) : "?"; }

}  // namespace

void unary(Client& client, const std::string& model) {
  GenerateRequest request = request_of(model);
  *request.add_messages() = user_message("What is the capital of France?");
  GenerateResponse response;
  grpc::ClientContext context;
  prepare(context, std::chrono::seconds(120));
  check(client.Generate(&context, request, &response));

  std::cout << "answer: " << text_of(response.message()) << "\n"
            << "finish: " << FinishReason_Name(response.finish_reason()) << "\n";
  const Usage& usage = response.usage();
  std::cout << "tokens: " << count(usage.has_input_tokens(), usage.input_tokens()) << " in, "
            << count(usage.has_output_tokens(), usage.output_tokens()) << " out" << std::endl;
  for (const auto& warning : response.warnings()) {
    std::cout << "warning: " << warning.message() << std::endl;
  }
}
