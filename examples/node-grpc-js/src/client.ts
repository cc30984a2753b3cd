// The channel: where calls go and what they carry.

import { credentials, Metadata } from "@grpc/grpc-js";
import { InferenceServiceClient } from "../gen/ts-grpc-js/marsys/v1/inference_service.js";

export { InferenceServiceClient };

const MOST_BYTES = 64 * 1024 * 1024; // the contract's largest message; gRPC's default is 4 MiB

/** A client of the service at `target` ("host:port"), in plain text: for TLS see credentials.createSsl. */
export function connect(target: string): InferenceServiceClient {
  return new InferenceServiceClient(target, credentials.createInsecure(), {
    "grpc.max_receive_message_length": MOST_BYTES,
    "grpc.max_send_message_length": MOST_BYTES,
  });
}

/** What each call carries: the service's token, where MARSYS_TOKEN is set. */
export function metadata(): Metadata {
  const carried = new Metadata();
  const token = process.env.MARSYS_TOKEN;
  if (token) carried.set("authorization", `Bearer ${token}`);
  return carried;
}

/** A deadline so many seconds from now. */
export function within(seconds: number): { deadline: number } {
  return { deadline: Date.now() + seconds * 1000 };
}
