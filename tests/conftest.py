"""What holds for every test: a clean environment, and property tests that a busy machine passes."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "marsys", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100
)
settings.load_profile("marsys")


# TEST_TRANSPORT=http2 runs all tests of services on that transport.
_TRANSPORTS = ("TRANSPORT", "MARSYS_API_TRANSPORT", "MARSYS_LOCAL_TRANSPORT")
if os.environ.get("TEST_TRANSPORT"):
    os.environ.update(dict.fromkeys(_TRANSPORTS, os.environ["TEST_TRANSPORT"]))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting or key of the person who runs the tests reaches them; no service is started."""
    for name in os.environ:
        if name in _TRANSPORTS and "TEST_TRANSPORT" in os.environ:
            continue
        if name.endswith("_API_KEY") or (name.startswith("MARSYS_") and name != "MARSYS_CACHE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MARSYS_EMBEDDED", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-conformance", action="store_true", help="write docs/conformance.md anew"
    )
