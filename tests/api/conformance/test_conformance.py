"""Providers x features x {unary, streaming} on two fake providers that others wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_upstream import Serve
from conformance_document import FAKES, MODES, PROVIDERS, document
from conformance_fakes import AimockFake, Fake, LlmockFake, aimock, aimock_command
from conformance_features import FEATURES, Cell, Feature
from conformance_holes import HOLES, hole_of
from conformance_holes import Cell as CellName
from conformance_relay import Relay
from llmock.pytest_plugin import LLMock

PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"
MODELS = {
    "openai": "openai/gpt-4o",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "google": "google/gemini-2.0-flash",
    "openrouter": "openrouter/openai/gpt-4o",
    "xai": "xai/grok-3",
    "custom": "gpt-4o",
}
CELLS = [
    (fake, provider, feature, mode)
    for fake in FAKES
    for provider in PROVIDERS
    for feature in FEATURES
    for mode in feature.modes
    if not (feature.listed and provider == "custom")
]
CELL_NAMES = [(fake, provider, feature.name, mode) for fake, provider, feature, mode in CELLS]
WORKED: dict[CellName, bool] = {}
"""What came of the cells that have run."""


def prompt_of(provider: str, feature: Feature, mode: str) -> str:
    return f"[{provider}: {feature.name}: {mode}]"


@pytest.fixture(scope="session")
def running_aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AimockFake]:
    if aimock_command() is None:
        pytest.skip("aimock is not installed: make conformance")
    scripts = {
        prompt_of(provider, feature, mode): feature.script
        for provider in PROVIDERS
        for feature in FEATURES
        for mode in feature.modes
    }
    with aimock(scripts, tmp_path_factory.mktemp("aimock")) as fake:
        yield fake


@pytest.mark.parametrize(
    ("fake", "provider", "feature", "mode"),
    CELLS,
    ids=[f"{fake}-{provider}-{feature.name}-{mode}" for fake, provider, feature, mode in CELLS],
)
async def test_cell(
    fake: str,
    provider: str,
    feature: Feature,
    mode: str,
    serve: Serve,
    request: pytest.FixtureRequest,
) -> None:
    server = fake_of(fake, request)
    cell = (fake, provider, feature.name, mode)
    hole = hole_of(cell)
    WORKED[cell] = False
    try:
        await check(server, provider, feature, mode, serve)
    except Exception as error:
        if hole is None:
            raise
        pytest.xfail(f"{hole.why} ({type(error).__name__})")
    WORKED[cell] = True
    assert hole is None, f"it works: take the hole off the list ({hole.why})"


def fake_of(name: str, request: pytest.FixtureRequest) -> Fake:
    if name == "aimock":
        fake: AimockFake = request.getfixturevalue("running_aimock")
        return fake
    llmock: LLMock = request.getfixturevalue("llmock")
    return LlmockFake(llmock)


async def check(fake: Fake, provider: str, feature: Feature, mode: str, serve: Serve) -> None:
    prompt = prompt_of(provider, feature, mode)
    fake.script(prompt, feature.script)
    async with Relay(fake.base_url(provider)) as relay:
        own = {provider: {"base_url": relay.url, "api_key": "k"}}
        custom = provider == "custom"
        caller = await serve(providers={} if custom else own, retry_base_delay=0.05)
        target = {"baseUrl": relay.url} if custom else {}
        stream = mode == "streaming"
        cell = Cell(caller, MODELS[provider], prompt, stream, relay, fake, target)
        await feature.check(cell)
    fake.judge()


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: "/".join(hole.cells))
def test_each_hole_is_part_of_the_matrix(hole: object) -> None:
    assert any(hole_of(cell) is hole for cell in CELL_NAMES)


def test_the_page_is_up_to_date(request: pytest.FixtureRequest) -> None:
    """It is written from what the cells before did, and read against what they must do."""
    if request.config.getoption("--write-conformance"):
        assert WORKED.keys() == set(CELL_NAMES), "every cell must run: is aimock installed?"
        PAGE.write_text(document(WORKED))
    expected = {cell: hole_of(cell) is None for cell in CELL_NAMES}
    assert PAGE.read_text() == document(expected), "make conformance"


def test_modes() -> None:
    assert all(set(feature.modes) <= set(MODES) for feature in FEATURES)
