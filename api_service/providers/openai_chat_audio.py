"""OpenAI Chat Completions: an answer that is spoken."""

from __future__ import annotations

import base64
import binascii

from api_service.providers.json_text import dump_json, object_of, text_of
from marsys.v1 import MediaPart, OpaqueState, Part

# How files of the formats that can be asked for begin; raw samples (pcm16) have no beginning.
_BEGINNINGS = {
    b"RIFF": "audio/wav",
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
    b"\xff\xf2": "audio/mpeg",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
}


class SpokenAnswer:
    """Gathers the sound of an answer, whole or from a stream."""

    def __init__(self) -> None:
        self._id = ""
        self._sound = bytearray()

    def add(self, audio: object) -> str:
        """Take `audio` of a message or a delta. Returns the words spoken in it.

        Raises:
            ValueError: the sound is no base64.
        """
        value = object_of(audio)
        self._id = text_of(value.get("id")) or self._id
        try:
            self._sound += base64.b64decode(text_of(value.get("data")), validate=True)
        except binascii.Error as error:
            raise ValueError("its sound is no base64") from error
        return text_of(value.get("transcript"))

    def part(self, issuer: str) -> Part | None:
        """The sound, with what the provider wants back of it; None where there is none."""
        if not self._sound:
            return None
        sound = bytes(self._sound)
        kinds = (kind for start, kind in _BEGINNINGS.items() if sound.startswith(start))
        part = Part(media=MediaPart(media_type=next(kinds, "audio/pcm"), data=sound))
        if self._id:
            state = dump_json({"audio": {"id": self._id}}).encode()
            part.opaque_state.CopyFrom(OpaqueState(issuer=issuer, data=state))
        return part
