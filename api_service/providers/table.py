"""The providers. One that speaks a known wire protocol is one more row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

# Retried: the client's fault never, a passing fault of the provider always.
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_ALL_SERVER_ERRORS = frozenset({408, 409, 429, *range(500, 600)})

_COMMON_FIELDS = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop_sequences": "stop",
}
_OPEN_FIELDS = _COMMON_FIELDS | {
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
}

# Fields of a Chat Completions body that Responses doesn't have.
_CHAT_ONLY = frozenset(
    {
        "stop", "seed", "frequency_penalty", "presence_penalty", "n", "logit_bias", "logprobs",
        "modalities", "audio", "prediction", "web_search_options", "max_completion_tokens",
        "response_format", "functions", "function_call", "reasoning_effort", "verbosity",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A provider.

    Attributes:
        name: the provider's name in the contract.
        wire: its wire protocol: "openai_chat", and others as they come.
        base_url: where its API is; empty where every caller or operator says so.
        key_env: environment variable of the service's key; empty: none.
        other_key_envs: further variables, read in order where the first is unset.
        needs_key: whether a call without a key is refused before it is made.
        key_header: header that carries the key.
        key_prefix: what stands before the key in it.
        headers: further headers of every request.
        betas: features still in test that every request asks for (Anthropic).
        strip: prefixes that the model's name loses.
        dotted_names: whether its models' names hold dots; else claude-opus-4.6 is claude-opus-4-6.
        base_suffix: the version that a base URL ends with; it gets it where it names none, as the
            provider's own SDK wants it.
        models_path: path of its model list; empty: none.
        billing_url: where credits are bought; empty: unknown.
        retried: HTTP statuses after which another attempt is made.
        advised_delays: how long to wait after a status, in seconds, where the provider doesn't say.
            They are told to the caller; the service's own back-off doesn't use them.
        fields: fields of GenerationConfig that it takes -> their names on the wire.
        least_max_tokens: smallest limit of the answer that it takes.
        default_max_tokens: limit of the answer where the caller sets none; None leaves it to the
            provider, whose context is unknown here.
        max_stops: most stop strings.
        reasoning: how an effort or budget is told: "effort" is `reasoning_effort`, "object" is
            `reasoning: {effort | max_tokens}`.
        known_efforts_only: whether only model families that are known for it take an effort.
        media: kinds of media that it takes.
        file_urls: whether a document may be given by its address.
        names: whether messages may carry a speaker's name.
        strict_tools: whether tools may carry `strict`.
        cache_points: whether models that know them take explicit points up to which the prompt is
            cached (OpenAI).
        cache_models: prefixes of models that take `cache_control` marks.
        stream_usage: whether usage must be asked for in streams.
        reasoning_key: key under which a message takes reasoning text back; empty: none is taken.
        reasoning_as_it_came: whether it takes that back under the key, or as the parts of the
            content, that it came in, since servers differ.
        json_word: whether JSON mode demands the word "JSON" in the prompt.
        refusals: whether an assistant message may carry `refusal`.
        other_names: fields of GenerationConfig -> second names on the wire, for models that refuse
            the first.
        alternate: the provider's other wire protocol, for what this one doesn't take.
        alternate_options: fields of the body that only the alternate has.
        price_list: what the price list calls the provider; empty: it doesn't know it.
        login: the command that makes the login which calls carry in place of a key; empty: none.
        login_refused: pattern of what it says where it doesn't permit the login.
        account_header: header that names the login's account; empty: none.
        aliases: short names of models -> their names.
        known_models: what it is known to have, where it lists no models.
        stream_only: whether every answer must be asked for as a stream.
        instructions: what it is told where the caller says nothing as the system; empty: nothing.
            Elsewhere what comes first from the system goes there, as it takes no such messages.
        counts_tokens: whether it counts a prompt's tokens.
    """

    name: str
    base_url: str
    key_env: str
    wire: str = "openai_chat"
    other_key_envs: tuple[str, ...] = ()
    needs_key: bool = True
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: Mapping[str, str] = field(default_factory=dict)
    betas: tuple[str, ...] = ()
    strip: tuple[str, ...] = ()
    dotted_names: bool = True
    base_suffix: str = ""
    models_path: str = "/models"
    billing_url: str = ""
    retried: frozenset[int] = RETRIED
    advised_delays: Mapping[int, float] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=lambda: dict(_COMMON_FIELDS))
    least_max_tokens: int = 1
    default_max_tokens: int | None = 8192
    max_stops: int = 16
    reasoning: Literal["effort", "object"] = "effort"
    known_efforts_only: bool = False
    media: frozenset[str] = frozenset({"image", "audio", "video", "file"})
    file_urls: bool = False
    names: bool = True
    strict_tools: bool = True
    cache_points: bool = False
    cache_models: tuple[str, ...] = ()
    stream_usage: bool = True
    reasoning_key: str = ""
    reasoning_as_it_came: bool = False
    json_word: bool = False
    refusals: bool = False
    other_names: Mapping[str, str] = field(default_factory=dict)
    alternate: ProviderRow | None = None
    alternate_options: frozenset[str] = frozenset()
    price_list: str = ""
    login: str = ""
    login_refused: str = ""
    account_header: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    known_models: tuple[str, ...] = ()
    stream_only: bool = False
    instructions: str = ""
    counts_tokens: bool = True


OPENAI_CHAT = ProviderRow(
    name="openai",
    base_url="https://api.openai.com/v1",
    key_env="OPENAI_API_KEY",
    strip=("openai/",),
    billing_url="https://platform.openai.com/billing",
    fields=_COMMON_FIELDS
    | {"max_tokens": "max_completion_tokens", "prompt_cache_key": "prompt_cache_key"},
    max_stops=4,
    known_efforts_only=True,
    media=frozenset({"image", "audio", "file"}),
    json_word=True,
    refusals=True,
    price_list="openai",
    cache_points=True,
)

OPENAI = replace(
    OPENAI_CHAT,
    wire="openai_responses",
    fields={
        "max_tokens": "max_output_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "prompt_cache_key": "prompt_cache_key",
    },
    least_max_tokens=16,
    media=frozenset({"image", "file"}),
    file_urls=True,
    names=False,
    alternate=OPENAI_CHAT,
    alternate_options=_CHAT_ONLY,
)

ANTHROPIC = ProviderRow(
    name="anthropic",
    base_url="https://api.anthropic.com/v1",
    key_env="ANTHROPIC_API_KEY",
    wire="anthropic_messages",
    key_header="x-api-key",
    key_prefix="",
    # Later versions refuse every sampling parameter on every model.
    headers={"anthropic-version": "2023-06-01"},
    strip=("anthropic/",),
    dotted_names=False,
    base_suffix="/v1",
    models_path="/models?limit=1000",
    billing_url="https://console.anthropic.com/billing",
    fields={
        "max_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "stop_sequences": "stop_sequences",
    },
    media=frozenset({"image", "file"}),
    file_urls=True,
    names=False,
    price_list="anthropic",
)

GOOGLE = ProviderRow(
    name="google",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    key_env="GOOGLE_API_KEY",
    other_key_envs=("GEMINI_API_KEY",),
    wire="google_generate_content",
    key_header="x-goog-api-key",
    key_prefix="",
    strip=("google/", "models/"),
    models_path="/models?pageSize=1000",
    billing_url="https://console.cloud.google.com",
    fields={
        "max_tokens": "maxOutputTokens",
        "temperature": "temperature",
        "top_p": "topP",
        "top_k": "topK",
        "frequency_penalty": "frequencyPenalty",
        "presence_penalty": "presencePenalty",
        "seed": "seed",
        "stop_sequences": "stopSequences",
    },
    max_stops=5,
    names=False,
    price_list="google",
    base_suffix="/v1beta",
)

OPENROUTER = ProviderRow(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    key_env="OPENROUTER_API_KEY",
    billing_url="https://openrouter.ai/credits",
    retried=_ALL_SERVER_ERRORS,
    advised_delays={408: 5, 502: 5} | {s: 10 for s in range(500, 600) if s != 502},
    fields=_OPEN_FIELDS,
    reasoning="object",
    file_urls=True,
    cache_models=("anthropic/", "google/", "qwen/", "alibaba/"),
    stream_usage=False,  # it always sends usage
    reasoning_key="reasoning",
    price_list="openrouter",
)

XAI = ProviderRow(
    name="xai",
    base_url="https://api.x.ai/v1",
    key_env="XAI_API_KEY",
    strip=("x-ai/", "xai/"),
    billing_url="https://console.x.ai/billing",
    fields=_COMMON_FIELDS,
    known_efforts_only=True,
    media=frozenset({"image"}),
    names=False,
    strict_tools=False,
    price_list="x-ai",
)

_CUSTOM_CHAT = ProviderRow(
    name="custom",
    base_url="",
    key_env="",
    needs_key=False,
    fields=_OPEN_FIELDS,
    default_max_tokens=None,
    file_urls=True,
    reasoning_key="reasoning_content",
    reasoning_as_it_came=True,
    other_names={"max_tokens": "max_completion_tokens"},  # OpenAI's reasoning models
)

CUSTOM = replace(
    _CUSTOM_CHAT,
    alternate=replace(
        _CUSTOM_CHAT, wire="openai_responses", fields=OPENAI.fields, media=OPENAI.media
    ),
)
"""Any OpenAI-compatible endpoint: a caller's base URL, or a provider that the operator adds."""

OPENAI_OAUTH = replace(
    OPENAI,
    name="openai-oauth",
    base_url="https://chatgpt.com/backend-api/codex",
    key_env="",
    needs_key=False,
    login="codex login",
    login_refused=r"instructions are (?:not valid|invalid|not allowed)"
    r"|only (?:be )?(?:authorized|allowed|available|used) (?:for|in|with|by) (?:use with )?codex",
    account_header="chatgpt-account-id",
    known_models=(
        "gpt-5.5", "gpt-5.4", "gpt-5.4-mini", "gpt-5.3-codex", "gpt-5.3-codex-spark",
        "gpt-5.2-codex", "gpt-5.2", "gpt-5.1", "gpt-5",
    ),
    models_path="",
    billing_url="",
    fields={"prompt_cache_key": "prompt_cache_key"},
    file_urls=False,
    alternate=None,
    alternate_options=frozenset(),
    price_list="",  # a subscription pays
    stream_only=True,
    instructions="You are a helpful assistant.",
    counts_tokens=False,
)  # fmt: skip
"""OpenAI Responses with a ChatGPT subscription."""

ANTHROPIC_OAUTH = replace(
    ANTHROPIC,
    name="anthropic-oauth",
    key_env="",
    needs_key=False,
    key_header="Authorization",
    key_prefix="Bearer ",
    betas=("oauth-2025-04-20",),
    login="claude login",
    login_refused=r"only (?:be )?(?:authorized|used) (?:for|with) (?:use with )?claude code"
    r"|oauth authentication is (?:currently )?not (?:allowed|supported|permitted)"
    r"|third[- ]party (?:apps?|tools?|clients?|harness)"
    r"|^error$",  # all that it says to some
    aliases={
        "opus": "claude-opus-4-8",
        "sonnet": "claude-sonnet-4-6",
        "haiku": "claude-haiku-4-5-20251001",
    },
    billing_url="",
    price_list="",
)
"""Anthropic Messages with a Claude subscription."""

PROVIDERS: Mapping[str, ProviderRow] = MappingProxyType(
    {
        row.name: row
        for row in (OPENAI, OPENROUTER, XAI, ANTHROPIC, GOOGLE, OPENAI_OAUTH, ANTHROPIC_OAUTH)
    }
)
"""The providers that callers may name, by name."""
