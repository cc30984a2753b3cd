"""Anthropic Messages: reasoning -> `thinking` and `output_config.effort`.

Claude up to 4.5 thinks by a budget, from 4.7 on as much as it finds fit and by an effort; 4.6 knows
both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api_service.providers.anthropic_state import ISSUER
from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.generation_config import DEFAULT_BUDGET, DEFAULT_EFFORT, effort_of, says
from api_service.providers.json_text import JsonObject
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, Message, Role

_BUDGET = "config.reasoning.budget_tokens"
_EFFORT = "config.reasoning.effort"
_LEAST_BUDGET = 1024
_ADAPTIVE: JsonObject = {"type": "adaptive", "display": "summarized"}
_OFF: JsonObject = {"type": "disabled"}
# Effort <-> budget, where the caller sets the one that the model doesn't take.
_ORDER = ("low", "medium", "high", "xhigh", "max")
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576}
_EFFORTS = ((2048, "low"), (8192, "medium"), (24576, "high"))


@dataclass(frozen=True, slots=True)
class Thinking:
    """What is said of reasoning.

    Attributes:
        thinking: the field `thinking`; empty: it isn't sent.
        effort: `output_config.effort`; empty: it isn't sent.
    """

    thinking: JsonObject
    effort: str = ""

    @property
    def budget(self) -> int:
        """The budget of thinking tokens; 0 where there is none."""
        tokens: int = self.thinking.get("budget_tokens", 0)
        return tokens

    @property
    def on(self) -> bool:
        """Whether thinking is asked for."""
        return self.thinking.get("type") in ("enabled", "adaptive")


def thinking_of(
    request: GenerateRequest, upstream: Upstream, family: Family, forced: bool, refusals: Refusals
) -> Thinking:
    """What to say of reasoning.

    Args:
        request: what the caller wants.
        upstream: whom it goes to.
        family: what the model takes.
        forced: whether a tool must be called: then the model can't think.
        refusals: what to do with what isn't taken.

    Raises:
        ServiceError: what the caller set can't be honoured.
    """
    wanted = request.config.reasoning
    effort = effort_of(request)
    budget = wanted.budget_tokens if wanted.HasField("budget_tokens") else None
    if not effort and budget is None:
        return _default(request, family, forced or _forced_by_option(request))
    if effort == "none" or (budget == 0 and not effort):
        return Thinking(_OFF if family.reasons or family.name == "unknown" else {})
    if not family.reasons and family.name != "unknown":
        refusals.refuse(_EFFORT if effort else _BUDGET, f"{upstream.model} does not reason")
        return Thinking({})
    if family.budget or (family.name == "unknown" and budget is not None):
        return _by_budget(request, effort, budget, family, refusals)
    return _by_effort(effort, budget, family, refusals)


def says_thinking(request: GenerateRequest) -> bool:
    """Whether the caller asks for thinking in a provider option."""
    wanted = _option(request, "thinking")
    return wanted is not None and wanted != _OFF


def _option(request: GenerateRequest, name: str) -> Any:
    """The value of a provider option; None where there is none."""
    return json.loads(request.provider_options_json.get(name) or "null")


def _forced_by_option(request: GenerateRequest) -> bool:
    choice = _option(request, "tool_choice")
    return isinstance(choice, dict) and choice.get("type") in ("any", "tool")


def _goes_on(messages: Sequence[Message]) -> bool:
    """Whether the model is to go on with a turn that began without thinking: then it can't think.

    Such a turn is the beginning of an answer, or tool calls that it made without.
    """
    answered = True  # whether all since is results, or the user's words beside them
    for message in reversed(messages):
        if message.role == Role.ROLE_ASSISTANT:
            if not answered:
                return False
            first = message.parts[0]
            thought = first.HasField("reasoning") and first.opaque_state.issuer == ISSUER
            if not thought:
                return True
        else:
            answered = message.role == Role.ROLE_TOOL
    return False


def _default(request: GenerateRequest, family: Family, forced: bool) -> Thinking:
    if says(request, "thinking", "output_config"):
        return Thinking({})
    if family.adaptive and not family.budget:
        return Thinking({} if forced else _ADAPTIVE, DEFAULT_EFFORT)
    unfit = forced or _sets_sampling(request) or _leaves_no_room(request)
    if family.budget and not (unfit or _goes_on(request.messages)):
        return Thinking({"type": "enabled", "budget_tokens": DEFAULT_BUDGET})
    return Thinking({})


# What the caller set comes first: a model that thinks takes no sampling, and needs room.


def _sets_sampling(request: GenerateRequest) -> bool:
    names = ("temperature", "top_p", "top_k")
    own = {field.name for field, _ in request.config.ListFields()}
    return says(request, *names) or not own.isdisjoint(names)


def _leaves_no_room(request: GenerateRequest) -> bool:
    limit = _option(request, "max_tokens")
    if limit is None and request.config.HasField("max_tokens"):
        limit = request.config.max_tokens
    return limit is not None and not (isinstance(limit, int) and limit > 2 * DEFAULT_BUDGET)


def _by_budget(
    request: GenerateRequest, effort: str, budget: int | None, family: Family, refusals: Refusals
) -> Thinking:
    told = _taken(effort, family, refusals) if effort and family.efforts else ""
    if budget is None:
        if family.adaptive:
            return Thinking(_ADAPTIVE, told)
        budget = _BUDGETS.get(effort, _BUDGETS["xhigh"])
        if not told:
            refusals.adjust(_EFFORT, f"a budget of {budget} tokens is sent; no effort is taken")
    elif effort and not told:
        refusals.adjust(_EFFORT, "budget_tokens is sent; only one of them is taken")
    fitting = max(budget, _LEAST_BUDGET)
    config = request.config
    if config.HasField("max_tokens") and fitting >= config.max_tokens:
        fitting = config.max_tokens * 6 // 10  # thoughts count as output: leave some for the answer
        if fitting < _LEAST_BUDGET:
            refusals.refuse(
                _BUDGET if config.reasoning.HasField("budget_tokens") else _EFFORT,
                f"max_tokens leaves no room for thinking, which needs {_LEAST_BUDGET} tokens",
            )
            return Thinking({}, told)
    if config.reasoning.HasField("budget_tokens") and fitting != budget:
        refusals.adjust(_BUDGET, f"{fitting} is sent: at least {_LEAST_BUDGET}, below max_tokens")
    return Thinking({"type": "enabled", "budget_tokens": fitting}, told)


def _by_effort(effort: str, budget: int | None, family: Family, refusals: Refusals) -> Thinking:
    if not effort:
        effort = next((name for most, name in _EFFORTS if (budget or 0) <= most), "xhigh")
        refusals.adjust(_BUDGET, f"the effort {effort} is sent; no budget is taken")
    elif budget is not None:
        refusals.adjust(_BUDGET, "effort is sent; only one of them is taken")
    return Thinking(_ADAPTIVE, _taken(effort, family, refusals))


def _taken(effort: str, family: Family, refusals: Refusals) -> str:
    """The effort, or the next below it that the model takes."""
    if effort == "minimal":
        refusals.adjust(_EFFORT, "low is sent, which is the least")
        return "low"
    if not family.efforts or effort in family.efforts:
        return effort
    below = _ORDER[: _ORDER.index(effort)]
    effort = next(name for name in reversed(below) if name in family.efforts)
    refusals.adjust(_EFFORT, f"{effort} is sent, which is the next that is taken")
    return effort
