"""OpenAI: how much to reason, as an effort or a budget."""

from __future__ import annotations

from api_service.providers.capabilities import Family
from api_service.providers.codec import Upstream
from api_service.providers.generation_config import DEFAULT_BUDGET, DEFAULT_EFFORT, effort_of, says
from api_service.providers.json_text import JsonObject
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest, ToolChoiceMode


def reasoning_of(
    request: GenerateRequest, upstream: Upstream, family: Family, refusals: Refusals
) -> JsonObject:
    """{"effort": ...}, {"max_tokens": ...} or nothing.

    Args:
        request: what the caller wants.
        upstream: whom it goes to; its row says whether a budget is taken.
        family: what the model takes.
        refusals: what to do with what it doesn't take.

    Raises:
        ServiceError: what the caller set can't be honoured.
    """
    wanted = request.config.reasoning
    effort = effort_of(request)
    has_budget = wanted.HasField("budget_tokens")
    if not effort and not has_budget:
        return _default_reasoning(request, upstream, family)
    if has_budget and upstream.row.reasoning == "object":
        if not effort or family.budget:
            if effort:
                refusals.adjust(
                    "config.reasoning.effort", "budget_tokens is sent; only one of them is taken"
                )
            return {"max_tokens": wanted.budget_tokens} if wanted.budget_tokens else _off()
        refusals.adjust(
            "config.reasoning.budget_tokens", "effort is sent; only one of them is taken"
        )
    elif has_budget:
        if not effort and wanted.budget_tokens == 0:
            effort = "none"
        else:
            refusals.refuse(
                "config.reasoning.budget_tokens",
                f"{upstream.row.name} takes an effort, no budget",
            )
    return {"effort": taken} if (taken := _taken(effort, upstream, family, refusals)) else {}


def _taken(effort: str, upstream: Upstream, family: Family, refusals: Refusals) -> str:
    """The effort that is sent; empty: none is."""
    known = bool(family.efforts) or upstream.row.known_efforts_only or family.reasons
    if not effort or not known or effort in family.efforts:
        return effort
    if effort == "none" and not family.reasons:
        return ""  # such a model never reasons
    if effort == "minimal" and "low" in family.efforts:
        refusals.adjust("config.reasoning.effort", f"{upstream.model} takes low, not minimal")
        return "low"
    if family.budget and upstream.row.reasoning == "object":
        return effort  # the provider turns it into a budget
    refusals.refuse("config.reasoning.effort", f"{upstream.model} does not take {effort!r}")
    return ""


def _default_reasoning(request: GenerateRequest, upstream: Upstream, family: Family) -> JsonObject:
    if says(request, "reasoning", "reasoning_effort"):
        return {}
    if DEFAULT_EFFORT in family.efforts and not family.budget:
        return {"effort": DEFAULT_EFFORT}
    if family.budget and upstream.row.reasoning == "object" and _can_think(request):
        return {"max_tokens": DEFAULT_BUDGET}
    return {}


def _can_think(request: GenerateRequest) -> bool:
    """Whether nothing that the caller set clashes with thinking by a budget."""
    config, choice = request.config, request.tool_choice
    forced = bool(choice.tool_name) or choice.mode == ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED
    sampling = any(config.HasField(name) for name in ("temperature", "top_p", "top_k"))
    short = config.HasField("max_tokens") and config.max_tokens <= 2 * DEFAULT_BUDGET
    return not (forced or sampling or short)


def _off() -> JsonObject:
    return {"enabled": False}
