"""What an answer cost."""

from __future__ import annotations

import pytest
from api_upstream import DONE, Caller, Upstream, ask, completion, delta, reply, sse
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from api_service.prices import cost_of
from marsys.v1 import CostSource, Usage

MODELS = [
    ("openai", "gpt-5"),
    ("openai", "gpt-4o-2024-08-06"),
    ("anthropic", "claude-opus-4-6"),
    ("anthropic", "claude-sonnet-4-5"),  # dearer for long prompts
    ("google", "gemini-2.5-pro"),  # likewise
    ("x-ai", "grok-4"),
]


@pytest.mark.parametrize("tokens", [(0, 0, 0, 0), (1500, 700, 500, 100), (900_000, 10_000, 10, 0)])
@pytest.mark.parametrize(("list_name", "model"), MODELS)
def test_agrees_with_the_list(
    list_name: str, model: str, tokens: tuple[int, int, int, int]
) -> None:
    given, output, read, written = tokens
    counted = {"input_tokens": given, "output_tokens": output, "cache_read_tokens": read}
    usage = Usage(**counted, cache_write_tokens=written)
    listed = calc_price(
        PricedUsage(**counted, cache_write_tokens=written), model, provider_id=list_name
    )
    cost = cost_of(list_name, model, usage)
    assert cost is not None
    assert cost.nano_usd == pytest.approx(float(listed.total_price) * 1e9, abs=1)
    assert cost.source == CostSource.COST_SOURCE_PRICE_LIST
    assert cost.price_list_version.startswith("genai-prices ")


@pytest.mark.parametrize(
    ("list_name", "model", "usage"),
    [
        ("openai", "no-such-model", Usage(input_tokens=1, output_tokens=1)),
        ("", "gpt-5", Usage(input_tokens=1, output_tokens=1)),
        ("openai", "gpt-5", Usage(output_tokens=1)),
        ("openai", "gpt-5", Usage(input_tokens=1)),
        ("openai", "gpt-5", Usage(input_tokens=2**62, output_tokens=2**62)),
    ],
)
def test_unknown_is_not_zero(list_name: str, model: str, usage: Usage) -> None:
    assert cost_of(list_name, model, usage) is None


@pytest.mark.parametrize("stream", [False, True])
async def test_the_answer_tells_it(caller: Caller, upstream: Upstream, stream: bool) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    last = delta(finish="stop") | {"usage": usage}
    answer = sse(delta("x"), last, DONE) if stream else reply(200, completion(usage=usage))
    upstream.script(answer)
    response = await caller.either(ask("xai/grok-4"), stream)
    expected = cost_of("x-ai", "grok-4", Usage(input_tokens=1000, output_tokens=100))
    assert response.cost == expected
    assert response.cost.nano_usd > 0


async def test_what_the_provider_reports_counts(caller: Caller, upstream: Upstream) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "cost": 0.5}
    upstream.script(reply(200, completion(usage=usage)))
    response = await caller.generate(ask("openrouter/openai/gpt-5"))
    assert response.cost.nano_usd == 500_000_000
    assert response.cost.source == CostSource.COST_SOURCE_PROVIDER


async def test_a_custom_endpoint_has_no_price(caller: Caller, upstream: Upstream) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    upstream.script(reply(200, completion(usage=usage)))
    response = await caller.generate(ask("gpt-5", target={"baseUrl": upstream.url}))
    assert response.usage.input_tokens == 1000
    assert not response.HasField("cost")
