"""Google generateContent: reasoning -> `thinkingConfig`.

Gemini 2.5 takes a budget, later models a level, earlier ones neither; both at once is an error.
"""

from __future__ import annotations

from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.generation_config import DEFAULT_BUDGET, DEFAULT_EFFORT, effort_of
from api_service.providers.json_text import JsonObject
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest

_BUDGET = "config.reasoning.budget_tokens"
_EFFORT = "config.reasoning.effort"
_LEVELS = ("minimal", "low", "medium", "high", "xhigh")  # from the least to the most
# Effort <-> budget, where the caller sets the one that the model doesn't take.
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768}
_EFFORTS = ((2048, "low"), (8192, "medium"), (24576, "high"))


def thinking_config(
    request: GenerateRequest, upstream: Upstream, family: Family, refusals: Refusals
) -> JsonObject:
    """The `thinkingConfig`; empty: none is sent.

    Raises:
        ServiceError: what the caller set can't be honoured.
    """
    wanted = request.config.reasoning
    effort = effort_of(request)
    budget = wanted.budget_tokens if wanted.HasField("budget_tokens") else None
    if not effort and budget is None:
        return _default(request, family)
    if family.budget:
        return _with_budget(effort, budget, upstream, family, refusals)
    if family.efforts:
        return _with_level(effort, budget, upstream, family, refusals)
    if family.reasons or family.name != "unknown":
        return _without(effort, budget, upstream, family, refusals)
    # Nothing is known of the model: the provider must judge.
    if effort and budget is not None:
        refusals.adjust(_BUDGET, "effort is sent; only one of them is taken")
    if effort:
        return _off() if effort == "none" else _level(effort)
    return _budget(budget or 0)


def _default(request: GenerateRequest, family: Family) -> JsonObject:
    if family.budget:
        least, _ = family.budget_range
        budget = DEFAULT_BUDGET
        if request.config.HasField("max_tokens"):
            # Thoughts count as output: half of it is left for the answer.
            budget = min(budget, request.config.max_tokens // 2)
        return _budget(budget) if budget >= least else {}
    return _level(DEFAULT_EFFORT) if DEFAULT_EFFORT in family.efforts else {}


def _with_budget(
    effort: str, budget: int | None, upstream: Upstream, family: Family, refusals: Refusals
) -> JsonObject:
    least, most = family.budget_range
    field = _BUDGET
    if budget is None:
        field = _EFFORT
        budget = most if effort == "max" else _BUDGETS[effort]
        if budget:
            budget = min(max(budget, least), most)
            refusals.adjust(_EFFORT, f"a budget of {budget} tokens is sent; no effort is taken")
    elif effort:
        refusals.adjust(_EFFORT, "budget_tokens is sent; only one of them is taken")
    if budget == 0:
        if family.can_stop:
            return _off()
        refusals.refuse(field, f"{upstream.model} always reasons")
        return {}
    bounded = min(max(budget, least), most)
    if bounded != budget:
        refusals.adjust(_BUDGET, f"{bounded} is sent; {upstream.model} takes {least} to {most}")
    return _budget(bounded)


def _with_level(
    effort: str, budget: int | None, upstream: Upstream, family: Family, refusals: Refusals
) -> JsonObject:
    field = _EFFORT
    if not effort:
        field = _BUDGET
        effort = _effort_of_budget(budget or 0)
        if effort != "none":
            refusals.adjust(_BUDGET, f"the effort {effort} is sent; no budget is taken")
    elif budget is not None:
        refusals.adjust(_BUDGET, "effort is sent; only one of them is taken")
    if effort == "none":
        refusals.refuse(field, f"{upstream.model} always reasons")
        return {}
    taken = [level for level in _LEVELS if level in family.efforts]
    # The least and the most mean what the model can.
    nearest = {"minimal": taken[0], "max": taken[-1]}.get(effort, effort)
    if nearest not in taken:
        if field == _BUDGET:
            nearest = taken[-1]
        else:
            refusals.refuse(field, f"{upstream.model} does not take {effort!r}")
            return {}
    if nearest != effort and field == _EFFORT:
        refusals.adjust(field, f"{nearest} is sent, which is what {upstream.model} can")
    return _level(nearest)


def _without(
    effort: str, budget: int | None, upstream: Upstream, family: Family, refusals: Refusals
) -> JsonObject:
    off = effort in ("", "none") and not budget
    if off and not family.reasons:
        return {}  # such a model never reasons
    refusals.refuse(
        _EFFORT if effort else _BUDGET, f"{upstream.model} takes no word on its reasoning"
    )
    return {}


def _effort_of_budget(budget: int) -> str:
    if budget == 0:
        return "none"
    return next((effort for most, effort in _EFFORTS if budget <= most), "xhigh")


def _budget(tokens: int) -> JsonObject:
    if tokens == 0:
        return _off()
    return {"thinkingBudget": tokens, "includeThoughts": True}


def _level(effort: str) -> JsonObject:
    return {"thinkingLevel": effort.upper(), "includeThoughts": True}


def _off() -> JsonObject:
    return {"thinkingBudget": 0}
