// What a failed call carries: google.rpc.Status among its details, and what is in it.

#pragma once

#include <grpcpp/grpcpp.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "marsys/v1/error.pb.h"

// The details of a failed call; each is missing where the call has none.
struct Details {
  std::optional<marsys::v1::ModelError> model_error;
  std::optional<google::rpc::ErrorInfo> error_info;
  std::optional<google::rpc::RequestInfo> request_info;
  std::optional<google::rpc::BadRequest> bad_request;
  std::optional<google::rpc::RetryInfo> retry_info;
};

// Decodes the details of a failed call. One that never reached a service has none.
Details details_of(const grpc::Status& status);

// A failed call in words.
std::string describe(const grpc::Status& status);

// A ModelError in words.
std::string describe(const marsys::v1::ModelError& error);

// A call failed.
class CallFailed : public std::runtime_error {
 public:
  explicit CallFailed(const grpc::Status& status)
      : std::runtime_error(describe(status)), status_(status) {}
  const grpc::Status& status() const { return status_; }

 private:
  grpc::Status status_;
};

// Throws CallFailed where a call failed.
void check(const grpc::Status& status);
