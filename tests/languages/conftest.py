"""The examples of other languages, built, and the services that they call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e_services import Service
from language_examples import BUILDS, Example

from local_inference_service.embedded import EMBEDDED_MODEL, ensure_embedded_model

TOKEN = "token-of-the-tests"


@pytest.fixture(scope="session", params=BUILDS)
def example(request: pytest.FixtureRequest) -> Example:
    return BUILDS[request.param](request.param)


@pytest.fixture(scope="session")
def embedded_model() -> str:
    ensure_embedded_model(lambda *progress: None)
    return EMBEDDED_MODEL


@pytest.fixture(scope="session")
def local_service(tmp_path_factory, embedded_model) -> Iterator[Service]:
    service = Service("local_inference_service", tmp_path_factory.mktemp("local"))
    yield service.wait_ready()
    service.stop()


@pytest.fixture(scope="session")
def api_service(tmp_path_factory, llmock_server) -> Iterator[Service]:
    """api_service with a token, and with llmock as the provider "house"."""
    environment = {
        "MARSYS_TOKEN": TOKEN,
        "MARSYS_API_PROVIDERS__HOUSE__BASE_URL": llmock_server.base_url("openai"),
    }
    service = Service("api_service", tmp_path_factory.mktemp("api"), environment=environment)
    yield service.wait_ready()
    service.stop()


@pytest.fixture
def token() -> str:
    return TOKEN
