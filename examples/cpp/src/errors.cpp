#include <iostream>

#include "demos.h"
#include "failure.h"
#include "messages.h"

using namespace marsys::v1;

void show_error(Client& client, const std::string& model) {
  GenerateRequest request = request_of(model);
  *request.add_messages() = user_message("Hello");
  request.mutable_config()->set_temperature(9);
  GenerateResponse response;
  grpc::ClientContext context;
  prepare(context, std::chrono::seconds(120));
  const grpc::Status status = client.Generate(&context, request, &response);
  if (status.ok()) throw std::runtime_error("the service took a temperature of 9");
  const Details details = details_of(status);
  if (!details.model_error || details.model_error->field() != "config.temperature") check(status);
  std::cout << describe(status) << std::endl;
}
