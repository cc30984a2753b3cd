// The transport: where calls go and what they carry.

import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { InferenceService } from "../gen/ts/marsys/v1/inference_service_pb.js";

export type InferenceClient = Client<typeof InferenceService>;

/** A client, and what closes its connection. */
export interface Connection {
  client: InferenceClient;
  close(): void;
}

/** Connects to the service at `target`: "host:port" in plain text, or a URL (https: is TLS). */
export function connect(target: string): Connection {
  const baseUrl = target.includes("://") ? target : `http://${target}`;
  const sessionManager = new Http2SessionManager(baseUrl);
  const transport = createGrpcTransport({ baseUrl, sessionManager, interceptors: [authorize] });
  return { client: createClient(InferenceService, transport), close: () => sessionManager.abort() };
}

/** Each call carries the service's token, where MARSYS_TOKEN is set. */
const authorize: Interceptor = (next) => (request) => {
  const token = process.env.MARSYS_TOKEN;
  if (token) request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};

/** The responses of a stream. Leaving the loop early cancels the call. */
export async function* responsesOf<T>(start: (signal: AbortSignal) => AsyncIterable<T>): AsyncGenerator<T> {
  const call = new AbortController();
  const responses = start(call.signal)[Symbol.asyncIterator]();
  let over = false;
  try {
    while (!over) {
      const response = await responses.next();
      if (response.done) over = true;
      else yield response.value;
    }
  } finally {
    if (!over) {
      call.abort();
      // connect stops the timer of the call's deadline only when it is read again.
      await responses.next().catch(() => undefined);
    }
  }
}
