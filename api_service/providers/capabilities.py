"""What model families take: data, not branches. Row order matters: the first match counts."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

_NO_SAMPLING = frozenset({"temperature", "top_p", "top_k", "min_p", "repetition_penalty"})
_SAMPLED_AT_REST = frozenset({"temperature", "top_p"})
_PENALTIES = frozenset({"frequency_penalty", "presence_penalty"})
_OPENAI_REASONING = _NO_SAMPLING | _PENALTIES | {"stop_sequences"}
_CLAUDE_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_XAI_REASONING = _PENALTIES | {"stop_sequences"}

_LOW_TO_HIGH = frozenset({"low", "medium", "high"})
_ALL_EFFORTS = _LOW_TO_HIGH | {"none", "minimal", "xhigh", "max"}


@dataclass(frozen=True, slots=True)
class Family:
    """Models that take the same parameters.

    Attributes:
        name: what the models are called in messages.
        pattern: matches the model's bare name, in lower case, from its beginning.
        refuses: fields of GenerationConfig that the models don't take.
        efforts: reasoning efforts that they take; empty: none.
        budget: whether they take a budget of reasoning tokens.
        reasons: whether they reason.
        max_tokens: most tokens of an answer where that is below the service's default.
        adaptive: whether they think as much as they find fit (Anthropic).
        one_sampler: whether they take temperature or top_p, but not both (Anthropic).
        schemas: whether they can be held to a JSON schema (Anthropic).
        system_turns: whether a system message may stand amid a conversation (Anthropic).
        budget_range: least and most tokens of a budget that they take, 0 (off) apart.
        can_stop: whether their reasoning can be turned off.
        json_with_tools: whether they write JSON only (a schema or JSON mode) beside tools.
        media_results: whether tool results may hold media (Google).
        signed_calls: whether tool calls of the present turn must carry a signature (Google).
        samples_at_rest: whether they take temperature and top_p with the effort "none" (OpenAI).
        cache_marks: whether contents may carry cache marks (OpenAI).
    """

    name: str
    pattern: re.Pattern[str]
    refuses: frozenset[str] = frozenset()
    efforts: frozenset[str] = frozenset()
    budget: bool = False
    reasons: bool = False
    max_tokens: int | None = None
    adaptive: bool = False
    one_sampler: bool = False
    schemas: bool = True
    system_turns: bool = False
    budget_range: tuple[int, int] = (0, 2**31 - 1)
    can_stop: bool = True
    json_with_tools: bool = True
    media_results: bool = False
    signed_calls: bool = False
    samples_at_rest: bool = False
    cache_marks: bool = False

    def without(self, refused: frozenset[str]) -> Family:
        """The family as one of its models turned out to be."""
        family = replace(self, refuses=self.refuses | refused)
        if "reasoning" in refused:
            family = replace(family, efforts=frozenset(), budget=False, adaptive=False)
        return family

    def at_effort(self, effort: str, refused: frozenset[str] = frozenset()) -> Family:
        """What the models take at an effort, apart from what one of them turned out to refuse."""
        if effort != "none" or not self.samples_at_rest:
            return self
        return replace(self, refuses=self.refuses - _SAMPLED_AT_REST | refused)


UNKNOWN = Family("unknown", re.compile(""))
"""Of a model that no row describes: nothing is known to be refused."""

_FAMILIES = (
    Family("OpenAI o1 (early)", re.compile(r"o1-(mini|preview)"), _OPENAI_REASONING, reasons=True),
    Family(
        "OpenAI o-series",
        re.compile(r"o[1-9]\d*(-|$)"),
        _OPENAI_REASONING,
        _LOW_TO_HIGH,
        reasons=True,
    ),
    Family("GPT chat", re.compile(r"gpt-[5-9][\d.]*-chat")),
    Family(
        "GPT codex",
        re.compile(r"(gpt-[5-9][\d.]*-)?codex"),
        _OPENAI_REASONING,
        _ALL_EFFORTS - {"minimal"},
        reasons=True,
    ),
    Family(
        "GPT-5 Pro",
        re.compile(r"gpt-5-pro"),
        _OPENAI_REASONING,
        frozenset({"high"}),
        reasons=True,
    ),
    Family(
        "GPT Pro",
        re.compile(r"gpt-([5-9]|\d{2,})[\d.]*-pro"),
        _OPENAI_REASONING,
        frozenset({"medium", "high", "xhigh"}),
        reasons=True,
    ),
    Family(
        "GPT-5 and later",
        re.compile(r"gpt-5(-|$)"),
        _OPENAI_REASONING,
        _LOW_TO_HIGH | {"minimal"},
        reasons=True,
    ),
    Family(
        "GPT-5 and later",
        re.compile(r"gpt-5\.1(-|$)"),
        _OPENAI_REASONING,
        _LOW_TO_HIGH | {"none"},
        reasons=True,
        samples_at_rest=True,
    ),
    Family(
        "GPT-5 and later",
        re.compile(r"gpt-5\.[2-5](-|$)"),
        _OPENAI_REASONING,
        _LOW_TO_HIGH | {"none", "xhigh"},
        reasons=True,
        samples_at_rest=True,
    ),
    Family(
        "GPT-5 and later",
        re.compile(r"gpt-([5-9]|\d{2,})"),
        _OPENAI_REASONING,
        _ALL_EFFORTS - {"minimal"},
        reasons=True,
        samples_at_rest=True,
        cache_marks=True,
    ),
    Family("GPT-3.5", re.compile(r"gpt-3\.5"), max_tokens=4096),
    Family("GPT-4 turbo", re.compile(r"gpt-4-(turbo|\d+-preview|vision)"), max_tokens=4096),
    Family("GPT-4", re.compile(r"gpt-4(-0|-32k|$)"), max_tokens=4096),
    Family("GPT-4 and 4o", re.compile(r"gpt-4|chatgpt-4")),
    Family("Grok, not reasoning", re.compile(r"grok-.*non-reasoning")),
    Family(
        "Grok 3 mini",
        re.compile(r"grok-3-mini"),
        _XAI_REASONING,
        frozenset({"low", "high"}),
        reasons=True,
    ),
    Family(
        "Grok with effort",
        re.compile(r"grok-(4\.20-multi-agent|4\.3)"),
        _XAI_REASONING,
        _LOW_TO_HIGH | {"none"},
        reasons=True,
    ),
    Family("Grok 2 and 3", re.compile(r"grok-[23]")),
    Family("Grok 4", re.compile(r"grok-(4|code)"), _XAI_REASONING, reasons=True),
    Family(
        "Claude 4.7",
        re.compile(r"claude-(opus|sonnet|haiku)-4[-.]7(?!\d)"),
        _CLAUDE_SAMPLING,
        _ALL_EFFORTS,
        reasons=True,
        adaptive=True,
    ),
    Family(
        "Claude 4.8 and later",
        re.compile(
            r"claude-((opus|sonnet|haiku)-(4[-.]([89]|[1-9]\d)(?!\d)|[5-9]|\d{2}(?!\d))|fable|mythos)"
        ),
        _CLAUDE_SAMPLING,
        _ALL_EFFORTS,
        reasons=True,
        adaptive=True,
        system_turns=True,
    ),
    Family(
        "Claude 4.6",
        re.compile(r"claude-(opus|sonnet|haiku)-4[-.]6(?!\d)"),
        efforts=_ALL_EFFORTS - {"xhigh"},
        budget=True,
        reasons=True,
        adaptive=True,
        one_sampler=True,
    ),
    Family(
        "Claude Opus 4.5",
        re.compile(r"claude-opus-4[-.]5(?!\d)"),
        efforts=_LOW_TO_HIGH,
        budget=True,
        reasons=True,
        one_sampler=True,
    ),
    Family(
        "Claude 4.1 to 4.5",
        re.compile(r"claude-(opus|sonnet|haiku)-4[-.][1-5](?!\d)"),
        budget=True,
        reasons=True,
        one_sampler=True,
    ),
    Family(
        "Claude 3.7 and 4",
        re.compile(r"claude-(3[-.]7|(opus|sonnet|haiku)-4)"),
        budget=True,
        reasons=True,
        schemas=False,
    ),
    Family("Claude 3.5", re.compile(r"claude-3[-.]5"), max_tokens=8192, schemas=False),
    Family("Claude 3 and 2", re.compile(r"claude-([123]|instant)"), max_tokens=4096, schemas=False),
    Family(
        "Gemini 1 and 2.0", re.compile(r"gemini-(1|2\.0|pro$|pro-vision)"), json_with_tools=False
    ),
    Family(
        "Gemini 2.5 for images and speech",
        re.compile(r"gemini-2\.5-.*(image|tts)"),
        json_with_tools=False,
    ),
    Family(
        "Gemini 2.5 Pro",
        re.compile(r"gemini-2\.5-pro"),
        budget=True,
        reasons=True,
        budget_range=(128, 32768),
        can_stop=False,
        json_with_tools=False,
    ),
    Family(
        "Gemini 2.5 Flash-Lite",
        re.compile(r"gemini-2\.5-flash-lite"),
        budget=True,
        reasons=True,
        budget_range=(512, 24576),
        json_with_tools=False,
    ),
    Family(
        "Gemini 2.5",
        re.compile(r"gemini-2\.5"),
        budget=True,
        reasons=True,
        budget_range=(1, 24576),
        json_with_tools=False,
    ),
    Family(
        "Gemini 3 for speech",
        re.compile(r"gemini-[3-9].*tts"),
        json_with_tools=False,
    ),
    Family(
        "Gemini 3 Pro Image",
        re.compile(r"gemini-[3-9][\d.]*-pro-image"),
        reasons=True,
        can_stop=False,
        media_results=True,
        signed_calls=True,
    ),
    Family(
        "Gemini 3 Pro",
        re.compile(r"gemini-[3-9][\d.]*-pro"),
        efforts=_LOW_TO_HIGH,
        reasons=True,
        can_stop=False,
        media_results=True,
        signed_calls=True,
    ),
    Family(
        "Gemini 3 Flash",
        re.compile(r"gemini-3-flash"),
        efforts=_LOW_TO_HIGH | {"minimal"},
        reasons=True,
        can_stop=False,
        media_results=True,
        signed_calls=True,
    ),
    Family(
        "Gemini 3",
        re.compile(r"gemini-[3-9]"),
        efforts=_LOW_TO_HIGH | {"minimal", "xhigh"},
        reasons=True,
        can_stop=False,
        media_results=True,
        signed_calls=True,
    ),
)


@lru_cache(maxsize=4096)
def family_of(model: str) -> Family:
    """The family of a model, whoever serves it: vendor prefixes don't matter."""
    bare = model.rpartition("/")[2].lower()
    for family in _FAMILIES:
        if family.pattern.match(bare):
            return family
    return UNKNOWN
