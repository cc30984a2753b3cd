"""What the shell completes: names of models and providers.

A shell waits for these at a key press: each look-up is short, and one that fails gives nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from marsys.agents.exceptions import AgentFrameworkError
from marsys.cli._choice import BACKENDS
from marsys.cli._services import Service, api, local
from marsys.models.api import KEY_VARIABLES

_PATIENCE = 1.0  # seconds
PROVIDERS = (*KEY_VARIABLES, "openai-oauth", "anthropic-oauth")


def model_names(incomplete: str) -> list[str]:
    """Local models, and "provider/" or, after one, the provider's models."""
    found = _of(local, "", incomplete)
    provider, slash, _ = incomplete.partition("/")
    if slash:
        return found + (_of(api, provider, incomplete) if provider in PROVIDERS else [])
    providers = [name for name in PROVIDERS if name.startswith(incomplete)]
    if len(providers) == 1 and not found:
        # A single word would be taken as finished: its models, if it can list them.
        return _of(api, providers[0], "") or [f"{providers[0]}/"]
    return found + [f"{name}/" for name in providers]


def local_names(incomplete: str) -> list[str]:
    """Models of local_inference_service."""
    return _of(local, "", incomplete)


def provider_names(incomplete: str) -> list[str]:
    """Providers of api_service, and backends of local_inference_service."""
    return [name for name in (*PROVIDERS, *BACKENDS) if name.startswith(incomplete)]


def _of(connect: Callable[[], Service], provider: str, incomplete: str) -> list[str]:
    try:
        models = connect().models(_PATIENCE, provider)
    except AgentFrameworkError:
        return []
    return [model.name for model in models if model.name.startswith(incomplete)]
