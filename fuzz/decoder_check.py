"""What must hold for a decoder, whatever bytes a provider sends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from api_service.providers.codec import Upstream
from api_service.providers.codecs import CODECS
from api_service.providers.table import CUSTOM, OPENAI, PROVIDERS, ProviderRow
from marsys.stream import fold
from marsys.v1 import GenerateResponse, StreamEvent
from serving.errors import ServiceError
from serving.event_writer import EventWriter

Outcome = GenerateResponse | int
"""The response, or the reason of the error."""


def rows() -> dict[str, ProviderRow]:
    """For each wire protocol, a provider that speaks it."""
    known = [*PROVIDERS.values(), OPENAI, CUSTOM]
    known += [row.alternate for row in known if row.alternate is not None]
    return {wire: next(row for row in known if row.wire == wire) for wire in CODECS}


def check(row: ProviderRow, data: bytes, cuts: Sequence[int]) -> None:
    """Decode bytes as a whole answer, as a stream in two ways, and as an error.

    Args:
        row: the provider.
        data: what it sends.
        cuts: where the stream is split: positions in the data, ascending.

    Raises:
        AssertionError: the stream means something else when it is split.
        Exception: a decoder raised something else than ServiceError, or its events don't fold.
    """
    upstream = Upstream(row, "some-model")
    decode_whole(upstream, data)
    bounds = [0, *cuts, len(data)]
    pieces = [data[a:b] for a, b in pairwise(bounds)]
    whole, split = decode_stream(upstream, [data]), decode_stream(upstream, pieces)
    assert whole == split, (whole, split)
    for status in (400, 429, 503):
        error = CODECS[row.wire].decode_error(upstream, status, {}, data, 0.0)
        assert error.reason
        assert error.message
        error.SerializeToString()


def decode_whole(upstream: Upstream, body: bytes) -> Outcome:
    """What a unary answer gives."""
    writer = EventWriter()
    try:
        CODECS[upstream.row.wire].decoder(upstream, writer).decode(body)
    except ServiceError as error:
        return int(error.error.reason)
    return _folded(writer.take())


def decode_stream(upstream: Upstream, pieces: Sequence[bytes]) -> Outcome:
    """What a stream gives that comes in pieces."""
    writer = EventWriter()
    decoder = CODECS[upstream.row.wire].decoder(upstream, writer)
    events: list[StreamEvent] = []
    try:
        for piece in pieces:
            if decoder.done:
                break
            decoder.feed(piece)
            events += writer.take()
        decoder.end()
    except ServiceError as error:
        return int(error.error.reason)
    return _folded(events + writer.take())


def _folded(events: list[StreamEvent]) -> GenerateResponse:
    for number, event in enumerate(events):
        event.sequence = number
    answer = fold(events)
    answer.SerializeToString()
    answer.ClearField("create_time")  # some providers tell none, then it is now
    return answer
