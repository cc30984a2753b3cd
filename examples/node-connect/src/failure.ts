// What a failed call carries. connect-node has read google.rpc.Status from grpc-status-details-bin;
// findDetails picks a kind of detail from it.

import type { Duration } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "../gen/ts/google/rpc/error_details_pb.js";
import { ErrorReason, type ModelError, ModelErrorSchema } from "../gen/ts/marsys/v1/error_pb.js";

/** The ModelError of a failed call; undefined for one that never reached a service. */
export function modelErrorOf(error: unknown): ModelError | undefined {
  return error instanceof ConnectError ? error.findDetails(ModelErrorSchema)[0] : undefined;
}

/** Any error in words. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof ConnectError)) return `failed: ${error instanceof Error ? error.message : error}`;
  const [errorInfo] = error.findDetails(ErrorInfoSchema);
  const [requestInfo] = error.findDetails(RequestInfoSchema);
  const [badRequest] = error.findDetails(BadRequestSchema);
  const [retryInfo] = error.findDetails(RetryInfoSchema);
  const modelError = modelErrorOf(error);
  const lines = [`failed: ${Code[error.code]}: ${error.rawMessage}`];
  if (errorInfo) lines.push(`  ErrorInfo: ${errorInfo.reason} of ${errorInfo.domain}`);
  if (requestInfo) lines.push(`  RequestInfo: ${requestInfo.requestId}`);
  for (const { field } of badRequest?.fieldViolations ?? []) lines.push(`  BadRequest: ${field}`);
  if (retryInfo?.retryDelay) lines.push(`  RetryInfo: wait ${inSeconds(retryInfo.retryDelay)} s`);
  if (modelError) lines.push(describeModelError(modelError));
  return lines.join("\n");
}

/** A ModelError in words. */
export function describeModelError(error: ModelError | undefined): string {
  if (error === undefined) return "  no details";
  const lines = [`  ModelError: ${ErrorReason[error.reason]}, ${error.retryable ? "retryable" : "final"}`];
  if (error.provider) lines.push(`  provider: ${error.provider}, failed attempts: ${error.attempts.length}`);
  if (error.suggestedAction) lines.push(`  what to do: ${error.suggestedAction}`);
  return lines.join("\n");
}

function inSeconds({ seconds, nanos }: Duration): number {
  return Number(seconds) + nanos / 1e9;
}
