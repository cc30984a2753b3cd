#include "client.h"

#include <cstdlib>

namespace {

constexpr int kMostBytes = 64 * 1024 * 1024;  // the contract's largest message; gRPC: 4 MiB

// Only while nothing of an answer has come. What the services have tried themselves they mark as
// final, so this bridges no more than a service that is just being replaced.
constexpr char kRetries[] = R"({
  "methodConfig": [{
    "name": [{"service": "marsys.v1.InferenceService"}],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.2s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
})";

}  // namespace

std::unique_ptr<Client> connect(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMostBytes);
  arguments.SetMaxSendMessageSize(kMostBytes);
  arguments.SetServiceConfigJSON(kRetries);
  auto channel =
      grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  return marsys::v1::InferenceService::NewStub(channel);
}

void prepare(grpc::ClientContext& context, std::chrono::seconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  const char* token = std::getenv("MARSYS_TOKEN");
  if (token != nullptr && *token != '\0') {
    context.AddMetadata("authorization", std::string("Bearer ") + token);
  }
}
