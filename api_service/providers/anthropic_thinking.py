"""Anthropic Messages: reasoning -> `thinking` and `output_config.effort`.

Claude up to 4.5 thinks by a budget, from 4.7 on as much as it finds fit and by an effort; 4.6 knows
both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        unfit = forced or _goes_on(request.messages)
        return _default(request, family, unfit)
    if effort == "none" or (budget == 0 and not effort):
        return Thinking(_OFF if family.reasons or family.name == "unknown" else {})
    if not family.reasons and family.name != "unknown":
        refusals.refuse(_EFFORT if effort else _BUDGET, f"{upstream.model} does not reason")
        return Thinking({})
    if family.budget or (family.name == "unknown" and budget is not None):
        return _by_budget(request, effort, budget, family, refusals)
    return _by_effort(effort, budget, refusals)


def _goes_on(messages: Sequence[Message]) -> bool:
    """Whether the model is to go on with a turn that began without thinking: then it can't think.

    Such a turn is the beginning of an answer, or tool calls that it made without.
    """
    for message in reversed(messages):
        if message.role == Role.ROLE_ASSISTANT:
            first = message.parts[0]
            thought = first.HasField("reasoning") and first.opaque_state.issuer == ISSUER
            if not thought:
                return True
        elif message.role != Role.ROLE_TOOL:
            return False
    return False


def _default(request: GenerateRequest, family: Family, unfit: bool) -> Thinking:
    config = request.config
    if says(request, "thinking", "output_config"):
        return Thinking({})
    if family.adaptive and not family.budget:
        return Thinking({} if unfit else _ADAPTIVE, DEFAULT_EFFORT)
    # What the caller set comes first: a model that thinks takes no sampling, and needs room.
    sampling = any(config.HasField(name) for name in ("temperature", "top_p", "top_k"))
    short = config.HasField("max_tokens") and config.max_tokens <= 2 * DEFAULT_BUDGET
    if family.budget and not (unfit or sampling or short):
        return Thinking({"type": "enabled", "budget_tokens": DEFAULT_BUDGET})
    return Thinking({})


def _by_budget(
    request: GenerateRequest, effort: str, budget: int | None, family: Family, refusals: Refusals
) -> Thinking:
    told = _known(effort, refusals) if effort and effort in family.efforts else ""
    if budget is None:
        if family.adaptive:
            return Thinking(_ADAPTIVE, told or DEFAULT_EFFORT)
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


def _by_effort(effort: str, budget: int | None, refusals: Refusals) -> Thinking:
    if not effort:
        effort = next((name for most, name in _EFFORTS if (budget or 0) <= most), "xhigh")
        refusals.adjust(_BUDGET, f"the effort {effort} is sent; no budget is taken")
    elif budget is not None:
        refusals.adjust(_BUDGET, "effort is sent; only one of them is taken")
    return Thinking(_ADAPTIVE, _known(effort, refusals))


def _known(effort: str, refusals: Refusals) -> str:
    if effort == "minimal":
        refusals.adjust(_EFFORT, "low is sent, which is the least")
        return "low"
    return effort
