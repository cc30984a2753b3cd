#include "failure.h"

#include <sstream>

#include "google/rpc/status.pb.h"

using namespace marsys::v1;

namespace {

// Takes a detail if it is of this kind.
template <typename Kind>
void take(const google::protobuf::Any& detail, std::optional<Kind>& into) {
  Kind message;
  if (detail.Is<Kind>() && detail.UnpackTo(&message)) into = message;
}

double in_seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() / 1e9;
}

}  // namespace

Details details_of(const grpc::Status& status) {
  Details details;
  google::rpc::Status rich;  // the value of grpc-status-details-bin
  if (!rich.ParseFromString(status.error_details())) return details;
  for (const auto& detail : rich.details()) {
    take(detail, details.model_error);
    take(detail, details.error_info);
    take(detail, details.request_info);
    take(detail, details.bad_request);
    take(detail, details.retry_info);
  }
  return details;
}

std::string describe(const grpc::Status& status) {
  const Details details = details_of(status);
  std::ostringstream words;
  words << "failed: code " << status.error_code() << ": " << status.error_message();
  if (details.error_info) {
    words << "\n  ErrorInfo: " << details.error_info->reason() << " of "
          << details.error_info->domain();
  }
  if (details.request_info) words << "\n  RequestInfo: " << details.request_info->request_id();
  if (details.bad_request) {
    for (const auto& violation : details.bad_request->field_violations()) {
      words << "\n  BadRequest: " << violation.field();
    }
  }
  if (details.retry_info) {
    words << "\n  RetryInfo: wait " << in_seconds(details.retry_info->retry_delay()) << " s";
  }
  if (details.model_error) words << "\n" << describe(*details.model_error);
  return words.str();
}

std::string describe(const ModelError& error) {
  std::ostringstream words;
  words << "  ModelError: " << ErrorReason_Name(error.reason()) << ", "
        << (error.retryable() ? "retryable" : "final");
  if (!error.provider().empty()) {
    words << "\n  provider: " << error.provider()
          << ", failed attempts: " << error.attempts_size();
  }
  if (!error.suggested_action().empty()) {
    words << "\n  what to do: " << error.suggested_action();
  }
  return words.str();
}

void check(const grpc::Status& status) {
  if (!status.ok()) throw CallFailed(status);
}
