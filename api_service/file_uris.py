"""Files of the service's own machine have no business in a request to a provider."""

from __future__ import annotations

from marsys.v1 import GenerateRequest
from serving.errors import invalid


def refuse_file_uris(request: GenerateRequest) -> None:
    """Refuse file: URLs, which mean something to local_inference_service only.

    Raises:
        ServiceError: a medium is given by one.
    """
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.parts):
            kind = part.WhichOneof("content")
            if kind == "media":
                _check(part.media.uri, f"messages[{index}].parts[{number}].media.uri")
            elif kind == "tool_result":
                path = f"messages[{index}].parts[{number}].tool_result"
                for place, piece in enumerate(part.tool_result.content):
                    _check(piece.media.uri, f"{path}.content[{place}].media.uri")


def _check(uri: str, path: str) -> None:
    if uri[:5].lower() == "file:":
        raise invalid(path, "must be a data: or https: URL")
