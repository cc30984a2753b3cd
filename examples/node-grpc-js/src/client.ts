// The channel: where calls go and what they carry.

import { credentials, Metadata } from "@grpc/grpc-js";
import { InferenceServiceClient } from "../gen/ts-grpc-js/marsys/v1/inference_service.js";

export { InferenceServiceClient };

const MOST_BYTES = 64 * 1024 * 1024; // the contract's largest message; gRPC's default is 4 MiB

// Only while nothing of an answer has come. What the services have tried themselves they mark as
// final, so this bridges no more than a service that is just being replaced.
const RETRIES = {
  methodConfig: [
    {
      name: [{ service: "marsys.v1.InferenceService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.2s",
        maxBackoff: "1s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

/** A client of the service at `target` ("host:port"), in plain text: for TLS see credentials.createSsl. */
export function connect(target: string): InferenceServiceClient {
  return new InferenceServiceClient(target, credentials.createInsecure(), {
    "grpc.max_receive_message_length": MOST_BYTES,
    "grpc.max_send_message_length": MOST_BYTES,
    "grpc.service_config": JSON.stringify(RETRIES),
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
