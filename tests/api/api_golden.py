"""Golden vectors, recordings, and the providers that they belong to."""

from __future__ import annotations

from pathlib import Path

from api_service.providers.table import OPENAI, OPENAI_CHAT, PROVIDERS
from api_service.settings import ApiSettings
from api_service.target import Targets
from marsys.v1 import StreamEvent

VECTORS = sorted(Path(__file__).parent.joinpath("golden").glob("*/*.json"))
ENVIRON = {row.key_env: "k" for row in PROVIDERS.values() if row.key_env}


def recordings_of(wire: str) -> list[Path]:
    """The recordings of a wire protocol, where they are beside the checkout."""
    folder = Path(__file__).parents[2].parent / "shared" / "recordings" / wire
    return sorted(folder.glob("*.json"))


def targets_of(wire: str) -> Targets:
    """The providers, such that each takes the wire protocol where it knows it."""
    openai = OPENAI if wire == OPENAI.wire else OPENAI_CHAT
    return Targets(ApiSettings(), ENVIRON, {**PROVIDERS, "openai": openai})


def numbered(events: list[StreamEvent]) -> list[StreamEvent]:
    """The events with their sequence numbers, as they leave the service."""
    for number, event in enumerate(events):
        event.sequence = number
    return events
