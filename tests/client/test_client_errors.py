"""Each failure is one exception with its facts."""

from __future__ import annotations

import json
import pickle
import socket

import pytest
from client_scripted import text

from marsys.agents.exceptions import (
    AgentFrameworkError,
    ModelAPIError,
    ModelConfigurationError,
    ModelError,
    ModelRateLimitError,
    ModelTimeoutError,
    ModelTokenLimitError,
)
from marsys.models import BaseAPIModel
from marsys.rpc.reasons import meaning
from marsys.v1 import Attempt, ErrorReason
from marsys.v1 import ModelError as ContractError

HELLO = [{"role": "user", "content": "Hello!"}]
SPECIAL = {
    "RATE_LIMIT": ModelRateLimitError,
    "TIMEOUT": ModelTimeoutError,
    "TOKEN_LIMIT": ModelTokenLimitError,
}
REASONS = [
    ErrorReason.Name(number).removeprefix("ERROR_REASON_")
    for number in ErrorReason.values()
    if number
]


@pytest.mark.parametrize("how", ["run", "stream", "arun"])
@pytest.mark.parametrize("reason", REASONS)
async def test_every_reason(service, api_model, reason, how):
    number = ErrorReason.Value(f"ERROR_REASON_{reason}")
    service.fail(ContractError(reason=number, message="it failed", retryable=True))
    with pytest.raises(ModelAPIError) as caught:
        if how == "arun":
            await api_model.arun(HELLO)
        elif how == "run":
            api_model.run(HELLO).result()
        else:
            list(api_model.stream(HELLO))
    error = caught.value
    assert type(error) is SPECIAL.get(reason, ModelAPIError)
    assert error.reason == reason
    assert error.message == str(error) == "it failed"
    assert error.classification == meaning(number).classification
    assert error.error_code == f"MODEL_API_{error.classification.upper()}_ERROR"
    assert error.grpc_code == meaning(number).code.name
    assert error.is_retryable is True
    assert error.request_id == "req-failed"
    assert json.loads(json.dumps(error.to_dict()))["classification"] == error.classification


def test_all_facts_of_an_outage(service, api_model):
    wanted = ContractError(
        reason=ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE,
        message="overloaded",
        provider="openrouter",
        model="vendor/model-1",
        http_status=503,
        provider_code="overloaded_error",
        provider_request_id="up-1",
        retryable=True,
        suggested_action="Service temporarily unavailable. Please try again later.",
        max_retries=3,
    )
    wanted.retry_after.FromSeconds(10)
    for number in range(1, 5):
        attempt = Attempt(number=number, http_status=503, reason="SERVICE_UNAVAILABLE")
        if number < 4:
            attempt.delay.FromSeconds(2 ** (number - 1))
        wanted.attempts.append(attempt)
    service.fail(wanted)
    with pytest.raises(ModelAPIError) as caught:
        api_model.run(HELLO)
    error = caught.value
    assert error.status_code == 503
    assert f"{error.retry_after}s" == "10s"
    assert error.error_code == "MODEL_API_SERVICE_UNAVAILABLE_ERROR"
    assert error.suggested_action.startswith("Service temporarily unavailable")
    assert error.api_error_code == "overloaded_error"
    assert (error.provider, error.model) == ("openrouter", "vendor/model-1")
    assert error.context["max_retries"] == 3
    assert [attempt["delay"] for attempt in error.context["attempts"]] == [1.0, 2.0, 4.0, None]
    assert not error.is_critical()


def test_retries_before_a_failure_are_logged(service, api_model, caplog):
    wanted = ContractError(reason=ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE, max_retries=3)
    wanted.attempts.append(Attempt(number=1, http_status=503, model="m"))
    wanted.attempts[0].delay.FromSeconds(1)
    wanted.attempts.append(Attempt(number=2, http_status=503, model="m"))
    service.fail(wanted)
    with pytest.raises(ModelAPIError):
        api_model.run(HELLO)
    assert caplog.messages == ["Server error 503 from m. Retry 1/3 after 1.0s"]


@pytest.mark.parametrize(
    ("status", "number", "seconds", "line"),
    [
        (503, 2, 2.17, "Server error 503 from m. Retry 2/3 after 2.0s"),  # jitter isn't told
        (503, 1, 1.5, "Server error 503 from m. Retry 1/3 after 1.5s"),  # the provider's own wait
        (429, 3, 30, "Rate limit (429) from m. Retry 3/3 after 30.0s"),
        (408, 1, 1, "Error 408 from m. Retry 1/3 after 1.0s"),
    ],
)
def test_how_retries_are_logged(service, api_model, caplog, status, number, seconds, line):
    attempt = Attempt(number=number, http_status=status, model="vendor/m")
    attempt.delay.FromMilliseconds(round(seconds * 1000))
    wanted = ContractError(reason=ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE, max_retries=3)
    wanted.attempts.extend([attempt, Attempt(number=number + 1, http_status=status)])
    service.fail(wanted)
    with pytest.raises(ModelAPIError):
        api_model.run(HELLO)
    assert caplog.messages == [line]


def test_a_token_limit(service, api_model):
    service.fail(
        ContractError(
            reason=ErrorReason.ERROR_REASON_TOKEN_LIMIT,
            message="too long",
            token_limit=8192,
            token_count=9000,
        )
    )
    with pytest.raises(ModelTokenLimitError) as caught:
        api_model.run(HELLO)
    assert caught.value.limit == caught.value.token_limit == 8192
    assert caught.value.token_count == 9000


def test_a_fraction_of_a_second_stays_one(service, api_model):
    wanted = ContractError(reason=ErrorReason.ERROR_REASON_RATE_LIMIT)
    wanted.retry_after.FromMilliseconds(1500)
    service.fail(wanted)
    with pytest.raises(ModelRateLimitError) as caught:
        api_model.run(HELLO)
    assert caught.value.retry_after == 1.5


@pytest.mark.parametrize("how", ["run", "stream"])
def test_a_field_has_the_same_name_streamed_or_not(service, api_model, how):
    prefix = "request." if how == "stream" else ""
    field = f"{prefix}config.top_p"
    reason = ErrorReason.ERROR_REASON_INVALID_REQUEST
    service.fail(ContractError(reason=reason, field=field, message=f"{field}: is too large"))
    with pytest.raises(ModelAPIError) as caught:
        _ = api_model.run(HELLO) if how == "run" else list(api_model.stream(HELLO))
    assert caught.value.field == "config.top_p"
    assert str(caught.value) == "config.top_p: is too large"
    assert caught.value.classification == "invalid_request"


def test_a_service_that_is_not_there():
    with socket.socket() as taken:  # bound and not listening: nobody answers
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ModelAPIError) as caught:
            BaseAPIModel("openai", "m", target=target).run(HELLO)
    error = caught.value
    assert error.classification == "network_error"
    assert error.is_retryable
    assert target in error.message
    assert "marsys serve" in error.suggested_action
    assert error.status_code is None


def test_the_hierarchy():
    for cls in (ModelRateLimitError, ModelTimeoutError, ModelTokenLimitError):
        assert issubclass(cls, ModelAPIError)
    assert issubclass(ModelAPIError, ModelError)
    assert issubclass(ModelConfigurationError, ModelError)
    assert issubclass(ModelError, AgentFrameworkError)


def test_exceptions_survive_other_processes(service, api_model):
    service.fail(ContractError(reason=ErrorReason.ERROR_REASON_TOKEN_LIMIT, token_limit=5))
    with pytest.raises(ModelTokenLimitError) as caught:
        api_model.run(HELLO)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is ModelTokenLimitError
    assert copy.to_dict() == caught.value.to_dict()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_timeout_is_a_positive_number(service, api_model, timeout):
    service.say(text("Hi"))
    with pytest.raises(ModelConfigurationError, match="timeout"):
        api_model.run(HELLO, timeout=timeout)
