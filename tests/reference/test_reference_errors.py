"""The page's examples of errors, retries and fallbacks, as they stand, against api_service."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from page_providers import CONTEXT, TOO_LONG, Fault, PageProviders
from reference_page import Example, Page

from marsys.agents.exceptions import ModelAPIError, ModelError
from marsys.models import BaseAPIModel

pytestmark = pytest.mark.usefixtures("remote")

MESSAGES = [{"role": "user", "content": "Hi"}]
NEVER = {"max_retries": 0}  # the fault is what counts, not how often it is met


def opus(**settings: Any) -> BaseAPIModel:
    return BaseAPIModel("openrouter", "anthropic/claude-opus-4.6", **settings)


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.INFO)
    return logging.getLogger("example")


@pytest.mark.example("Error Handling / Automatic Retry for Server Errors#1")
def test_retries_are_made_and_logged(
    example: Example, providers: PageProviders, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    providers.faults.extend([Fault(503), Fault(503)])
    names = example.run(api_key="a-key", messages=MESSAGES)
    assert names["response"]["content"] == "Hello from here."
    assert len(providers.asked) == 3
    lines = [f"{record.levelname} - {record.getMessage()}" for record in caplog.records]
    for line in example.comments("Logs will show retry attempts:"):
        assert line in lines


def test_what_is_retried(page: Page, providers: PageProviders) -> None:
    """Each status of the page's table, on each provider: four attempts, or one."""
    wanted = {}
    for provider, again, never in page.table("Provider | Retryable Errors"):
        for cell, attempts in ((again, 4), (never, 1)):
            for status in cell.replace("+", "").split(", "):
                wanted[provider.lower(), int(status)] = attempts
    assert len(wanted) > 20

    async def fail(provider: str, status: int) -> int | None:
        model = BaseAPIModel(provider, f"fault-{status}")
        with pytest.raises(ModelAPIError) as caught:
            await model.arun(MESSAGES)
        return caught.value.status_code

    async def all_of_them() -> list[int | None]:
        return await asyncio.gather(*(fail(*case) for case in wanted))

    assert asyncio.run(all_of_them()) == [status for _, status in wanted]
    made: dict[tuple[str, int], int] = dict.fromkeys(wanted, 0)
    for asked in providers.asked:
        made[asked.provider, int(asked.model.removeprefix("fault-"))] += 1
    assert made == wanted


@pytest.mark.example("Error Handling / Manual Error Handling#1")
@pytest.mark.parametrize(
    ("fault", "lines"),
    [
        (
            Fault(429, "Slow down.", headers={"Retry-After": "7"}),
            [
                "ERROR Rate limit exceeded after 0 retries",
                "INFO Retry after 7s",
            ],
        ),
        (
            Fault(503, "Down for now."),
            ["ERROR Server error persisted after retries: openrouter answered 503: Down for now."],
        ),
        (
            Fault(400, "No such thing."),
            ["ERROR Client error: 400 - openrouter answered 400: No such thing."],
        ),
        (
            Fault(402, "Buy credits."),
            ["ERROR Client error: 402 - openrouter answered 402: Buy credits."],
        ),
    ],
    ids=["rate limit", "server", "client", "credits"],
)
def test_every_error_is_told_apart(
    example: Example,
    providers: PageProviders,
    logger: logging.Logger,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    lines: list[str],
) -> None:
    providers.faults.append(fault)
    example.run(model=opus(**NEVER), messages=MESSAGES, logger=logger)
    logged = [r for r in caplog.records if r.name == "example"]
    assert [f"{r.levelname} {r.getMessage()}" for r in logged] == lines


@pytest.mark.example("Error Handling / Manual Error Handling#1")
def test_long_prompts_are_cut_to_the_limit(
    example: Example,
    providers: PageProviders,
    logger: logging.Logger,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = []

    def truncate_messages(messages: list[Any], limit: int) -> list[Any]:
        limits.append(limit)
        return messages[-1:]

    providers.faults.append(TOO_LONG)
    long = [*MESSAGES, {"role": "assistant", "content": "Hi."}, *MESSAGES]
    names = example.run(
        model=opus(), messages=long, logger=logger, truncate_messages=truncate_messages
    )
    assert limits == [CONTEXT]
    assert names["response"]["content"] == "Hello from here."
    assert len(providers.asked[1].body["messages"]) == 1
    (record,) = [r for r in caplog.records if r.name == "example"]
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("Token limit exceeded: ")


@pytest.mark.example("Error Handling / Manual Error Handling#1")
@pytest.mark.parametrize(
    ("status", "classification"), [(400, "invalid_request"), (402, "insufficient_credits")]
)
def test_classifications_of_the_page(
    example: Example, providers: PageProviders, status: int, classification: str
) -> None:
    assert f'e.classification == "{classification}"' in example.code
    providers.faults.append(Fault(status))
    with pytest.raises(ModelAPIError) as caught:
        opus(**NEVER).run(MESSAGES)
    assert caught.value.classification == classification


@pytest.mark.example("Error Handling / Error Classification#1")
def test_an_error_prints_as_on_the_page(
    example: Example, providers: PageProviders, capsys: pytest.CaptureFixture[str]
) -> None:
    providers.faults.append(Fault(503))
    call = "try:\n    response = await model.run(messages)\n"
    example.run(before=call, model=opus(**NEVER), messages=MESSAGES, ModelAPIError=ModelAPIError)
    printed = capsys.readouterr().out.splitlines()
    assert printed == example.comments("Example output for OpenRouter 503:")


@pytest.mark.example("Best Practices / Error Recovery#1")
def test_a_fallback_answers(
    example: Example,
    providers: PageProviders,
    logger: logging.Logger,
    caplog: pytest.LogCaptureFixture,
) -> None:
    primary = BaseAPIModel("openrouter", "fault-503", **NEVER)
    supplied = {"primary_model": primary, "logger": logger, "ModelError": ModelError}
    # The page's last line is its example of what not to do: a call without a handler.
    names = example.run(model=opus(), messages=MESSAGES, **supplied)
    assert names["response"]["content"]
    call = names["robust_model_call"]
    response = asyncio.run(call(MESSAGES, fallback_model=opus()))
    assert response["content"] == "Hello from here."
    assert "Primary failed, using fallback: openrouter answered 503: It is broken." in caplog.text
    with pytest.raises(ModelError):
        asyncio.run(call(MESSAGES))
