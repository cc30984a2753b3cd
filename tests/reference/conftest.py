"""The page, api_service before fake providers, and a caller's environment as the page has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_services import Service
from http_thread import served
from oauth_fake import OAuthFake
from page_providers import KEYS, PageProviders
from reference_page import WAYS, Example, Page, find_page


@pytest.fixture(scope="session")
def page() -> Page:
    where = find_page()
    if where is None:
        pytest.skip("the reference page is not beside this checkout")
    return Page.read(where)


@pytest.fixture
def example(request: pytest.FixtureRequest, page: Page) -> Example:
    """The example that the test's mark names."""
    mark = request.node.get_closest_marker("example")
    return page.examples[mark.args[0]]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Without a running loop, and within one."""
    return str(request.param)


@pytest.fixture(scope="session")
def all_providers() -> Iterator[PageProviders]:
    providers = PageProviders()
    with served(providers.application()) as providers.url:
        yield providers


@pytest.fixture
def providers(all_providers: PageProviders) -> PageProviders:
    all_providers.forget()
    return all_providers


@pytest.fixture(scope="session")
def logins() -> Iterator[OAuthFake]:
    """The providers of subscriptions."""
    fake = OAuthFake()
    with served(fake.application()) as fake.url:
        yield fake


@pytest.fixture(scope="session")
def service_home(logins: OAuthFake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's home directory, with what `codex login` and `claude login` leave."""
    home = tmp_path_factory.mktemp("home")
    logins.codex_login(home / ".codex" / "auth.json")
    logins.claude_login(home / ".claude" / ".credentials.json")
    return home


@pytest.fixture(scope="session")
def api_address(
    all_providers: PageProviders,
    logins: OAuthFake,
    service_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """api_service as a process, without keys of its own."""
    settings = logins.service_settings
    rows = {name: {"base_url": all_providers.base_url(name)} for name in KEYS}
    told = {
        "HOME": str(service_home),
        "MARSYS_API_PROVIDERS": json.dumps({**settings["providers"], **rows}),
        "MARSYS_API_OAUTH_PROVIDERS": json.dumps(settings["oauth_providers"]),
    }
    service = Service("api_service", tmp_path_factory.mktemp("api"), environment=told)
    yield service.wait_ready().address
    service.stop()


@pytest.fixture
def remote(api_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody who has a key of every provider."""
    monkeypatch.setenv("MARSYS_API_TARGET", api_address)
    for provider, variable in KEYS.items():
        monkeypatch.setenv(variable, f"key-of-{provider}")
