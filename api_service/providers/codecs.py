"""The wire protocols, by the names that provider rows use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from api_service.providers.anthropic import AnthropicCodec
from api_service.providers.codec import Codec
from api_service.providers.google import GoogleCodec
from api_service.providers.openai_chat import ChatCodec
from api_service.providers.openai_responses import ResponsesCodec

CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "anthropic_messages": AnthropicCodec(),
        "google_generate_content": GoogleCodec(),
        "openai_chat": ChatCodec(),
        "openai_responses": ResponsesCodec(),
    }
)
