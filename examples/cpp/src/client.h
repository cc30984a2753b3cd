// The channel: where calls go and what they carry.

#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "marsys/v1/inference_service.grpc.pb.h"

using Client = marsys::v1::InferenceService::Stub;

// A client of the service at `target` ("host:port"), in plain text: for TLS see
// grpc::SslCredentials.
std::unique_ptr<Client> connect(const std::string& target);

// Gives a call its deadline and the service's token, where MARSYS_TOKEN is set. A context is for one
// call; its TryCancel, from any thread, ends the call.
void prepare(grpc::ClientContext& context, std::chrono::seconds timeout);
