// Reading what a service streams.

#pragma once

#include <grpcpp/grpcpp.h>

#include "failure.h"

// Gives each response to `take` and finishes the call; what `take` throws cancels it.
// Throws CallFailed where the call failed.
template <typename Response, typename Stream, typename Take>
void read_all(grpc::ClientContext& context, Stream& stream, Take take) {
  Response response;
  try {
    while (stream.Read(&response)) take(response);
  } catch (...) {
    context.TryCancel();
    stream.Finish();  // without it the call is not over
    throw;
  }
  check(stream.Finish());
}
