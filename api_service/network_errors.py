"""What a failed exchange means. Errors' own texts may hold addresses or keys, so they stay out."""

from __future__ import annotations

import errno
import ssl

import aiohttp
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from api_service.connector import AddressRefused
from marsys.v1 import ErrorReason
from serving.errors import ServiceError, service_error

_R = ErrorReason


def network_failure(error: BaseException, waited: str, connect_timeout: float) -> ServiceError:
    """The error that a failed exchange with a provider means.

    Args:
        error: TimeoutError, aiohttp.ClientError or OSError.
        waited: which wait was too long, in words, where one was.
        connect_timeout: most seconds for connecting.
    """
    if isinstance(error, aiohttp.ClientConnectorError):
        return _not_connected(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _timeout(f"could not be reached within {connect_timeout:g} s")
    if isinstance(error, TimeoutError):
        return _timeout(f"did not answer: {waited}")
    if isinstance(error, aiohttp.InvalidURL):
        return service_error(_R.ERROR_REASON_INVALID_REQUEST, "the base URL is no URL")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _broken(f"could not be reached: the proxy answered {error.status}")
    if isinstance(error, aiohttp.ClientResponseError):
        return malformed(_what_is_no_http(error))
    if isinstance(error, aiohttp.ClientPayloadError):
        return _broken("broke the connection before the end of its answer")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return _broken("closed the connection before it answered")
    return _broken(f"broke the connection ({_name(error)})")


def malformed(what: str) -> ServiceError:
    """MALFORMED_RESPONSE: the answer is not what it should be."""
    return service_error(
        _R.ERROR_REASON_MALFORMED_RESPONSE, f"the provider's answer can't be read: {what}"
    )


def out_of_reach() -> ServiceError:
    """NOT_ALLOWED: a caller's base URL leads to an address that callers may not reach."""
    return service_error(
        _R.ERROR_REASON_NOT_ALLOWED,
        "target.base_url: callers may not send requests to the address that it names",
        field="target.base_url",
        action="Ask the operator of the service to add it to allow_base_urls.",
    )


def _not_connected(error: aiohttp.ClientConnectorError) -> ServiceError:
    cause = error.os_error
    if isinstance(cause, AddressRefused):
        return out_of_reach()
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return _broken("could not be reached: the proxy does not answer")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _broken("could not be reached: its name is not known")
    certificate = getattr(error, "certificate_error", None)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        refused = _broken(
            f"could not be reached: its certificate is not valid ({certificate.verify_message})"
        )
        refused.error.retryable = False
        refused.error.suggested_action = (
            "Check the address; the operator names further authorities with ca_file."
        )
        return refused
    if isinstance(error, aiohttp.ClientSSLError):
        return _broken("could not be reached: it does not speak TLS as it should")
    return _broken(f"could not be reached ({_name(cause)})")


def _what_is_no_http(error: aiohttp.ClientResponseError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LineTooLong):
            return "its headers are too large"
        if isinstance(cause, BadHttpMessage) and "oo many" in str(cause):
            return "its headers are too many"
        cause = cause.__cause__
    return "it is no HTTP"


def _timeout(what: str) -> ServiceError:
    return service_error(_R.ERROR_REASON_TIMEOUT, f"the provider {what}")


def _broken(what: str) -> ServiceError:
    return service_error(_R.ERROR_REASON_NETWORK_ERROR, f"the provider {what}")


def _name(error: BaseException) -> str:
    """A short name of an error, such as ECONNREFUSED."""
    number = getattr(error, "errno", None)
    return errno.errorcode.get(number or 0, type(error).__name__)
