// What a failed call carries: google.rpc.Status in grpc-status-details-bin, and what is in it.

import { type ServiceError, status as code } from "@grpc/grpc-js";
import type { Duration } from "../gen/ts-grpc-js/google/protobuf/duration.js";
import { BadRequest, ErrorInfo, RequestInfo, RetryInfo } from "../gen/ts-grpc-js/google/rpc/error_details.js";
import { Status } from "../gen/ts-grpc-js/google/rpc/status.js";
import { ErrorReason, ModelError } from "../gen/ts-grpc-js/marsys/v1/error.js";

/** The details of a failed call; each is undefined where the call has none. */
export interface Details {
  modelError?: ModelError;
  errorInfo?: ErrorInfo;
  requestInfo?: RequestInfo;
  badRequest?: BadRequest;
  retryInfo?: RetryInfo;
}

/** Decodes the details of a failed call. One that never reached a service has none. */
export function detailsOf(error: ServiceError): Details {
  const details: Details = {};
  const [raw] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!(raw instanceof Buffer)) return details;
  for (const { typeUrl, value } of Status.decode(raw).details) {
    switch (typeUrl.slice(typeUrl.lastIndexOf("/") + 1)) {
      case "marsys.v1.ModelError":
        details.modelError = ModelError.decode(value);
        break;
      case "google.rpc.ErrorInfo":
        details.errorInfo = ErrorInfo.decode(value);
        break;
      case "google.rpc.RequestInfo":
        details.requestInfo = RequestInfo.decode(value);
        break;
      case "google.rpc.BadRequest":
        details.badRequest = BadRequest.decode(value);
        break;
      case "google.rpc.RetryInfo":
        details.retryInfo = RetryInfo.decode(value);
        break;
    }
  }
  return details;
}

/** Any error in words. */
export function describeFailure(error: unknown): string {
  if (!isServiceError(error)) return `failed: ${error instanceof Error ? error.message : error}`;
  const { modelError, errorInfo, requestInfo, badRequest, retryInfo } = detailsOf(error);
  const lines = [`failed: ${code[error.code]}: ${error.details}`];
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

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}

function inSeconds({ seconds, nanos }: Duration): number {
  return Number(seconds) + nanos / 1e9;
}
