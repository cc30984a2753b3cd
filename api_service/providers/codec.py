"""What a wire protocol must be able to do. Codecs do no I/O: bytes in, bytes and events out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from api_service.providers.capabilities import Family, family_of
from api_service.providers.table import ProviderRow
from marsys.v1 import GenerateRequest, Model, ModelError
from serving.event_writer import EventWriter


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to a provider, without address and credentials.

    Attributes:
        path: what follows the base URL, with a leading slash.
        headers: headers of the wire protocol; the transport adds those of the provider's row.
        body: the body; empty for GET.
        method: "POST" or "GET".
    """

    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


def _unchanged(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Upstream:
    """Whom a codec talks to.

    Attributes:
        row: the provider.
        model: the model's name at the provider.
        redact: hides the request's credentials in a text.
        refused: what the model has been seen to refuse, beyond what its family is known to: fields
            of GenerationConfig, or what only the service chooses ("stream_options").
        json_mode: whether the caller wants JSON for an answer, where the provider may not hold the
            model to it and the model may put a code fence around it.
    """

    row: ProviderRow
    model: str
    redact: Callable[[str], str] = field(default=_unchanged, repr=False)
    refused: frozenset[str] = frozenset()
    json_mode: bool = False

    @property
    def family(self) -> Family:
        """What the model takes."""
        family = family_of(self.model)
        refused = self.refused - self.row.other_names.keys()
        return family.without(refused) if refused else family


class Decoder(Protocol):
    """Decodes one answer into an EventWriter: either `decode`, or `feed` ... `end`.

    Attributes:
        done: whether the provider has said that nothing more comes.
    """

    done: bool

    def decode(self, body: bytes) -> None:
        """A whole unary body.

        Raises:
            ServiceError: the body is an error, has no usable content, or can't be read.
        """
        ...

    def feed(self, chunk: bytes) -> None:
        """The next bytes of an event stream, split anywhere.

        Raises:
            ServiceError: the stream carries an error or can't be read.
        """
        ...

    def end(self) -> None:
        """The event stream has ended.

        Raises:
            ServiceError: it ended before its end, or without usable content.
        """
        ...


class Codec(Protocol):
    """A wire protocol."""

    def encode(
        self, request: GenerateRequest, upstream: Upstream, stream: bool, writer: EventWriter
    ) -> HttpRequest:
        """The HTTP request that asks for the generation. Warnings go to `writer`.

        Raises:
            ServiceError: a set parameter can't be honoured, or content can't be expressed.
        """
        ...

    def decoder(self, upstream: Upstream, writer: EventWriter) -> Decoder:
        """A decoder for one answer."""
        ...

    def decode_error(
        self, upstream: Upstream, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> ModelError:
        """The error that a response outside 200 to 299 means.

        Args:
            upstream: whom was asked.
            status: HTTP status.
            headers: response headers; looked up by lower-case name.
            body: the body, perhaps cut off.
            now: the time in seconds since the epoch.
        """
        ...

    def decode_models(self, upstream: Upstream, body: bytes) -> list[Model]:
        """The models that the body of a model list (GET row.models_path) names.

        Raises:
            ServiceError: the body can't be read.
        """
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """What the codec of a provider that counts tokens can do as well."""

    def encode_count(
        self, request: GenerateRequest, upstream: Upstream, writer: EventWriter
    ) -> HttpRequest:
        """The HTTP request that asks for the tokens of the prompt.

        Raises:
            ServiceError: content can't be expressed.
        """
        ...

    def decode_count(self, upstream: Upstream, body: bytes) -> int:
        """The count that the answer holds.

        Raises:
            ServiceError: the body can't be read.
        """
        ...
