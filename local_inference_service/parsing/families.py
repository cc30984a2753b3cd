"""The families that are known, and which one a model belongs to."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from local_inference_service.parsing import (
    deepseek,
    dsml,
    gemma,
    glm,
    gpt_oss,
    hermes,
    kimi_k2,
    kimi_k3,
    llama3,
    llama4,
    mistral,
    plain,
    qwen_xml,
)
from local_inference_service.parsing.family import Family

_FAMILIES = (
    hermes.FAMILY,
    qwen_xml.FAMILY,
    llama3.FAMILY,
    llama4.FAMILY,
    mistral.FAMILY,
    deepseek.FAMILY,
    deepseek.FAMILY_31,
    dsml.FAMILY,
    gemma.FAMILY,
    gpt_oss.FAMILY,
    glm.FAMILY,
    kimi_k2.FAMILY,
    kimi_k3.FAMILY,
    plain.FAMILY,
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _FAMILIES})

# What the chat template of a family holds, and no other's. The first that fits counts.
_IN_TEMPLATE = (
    ("gpt_oss", re.compile(r"<\|channel\|>")),
    ("gemma", re.compile(r"<\|tool_call>")),
    ("kimi_k3", re.compile(r"<\|open\|>")),
    ("kimi_k2", re.compile(r"<\|tool_calls_section_begin\|>")),
    ("dsml", re.compile("｜DSML｜")),
    ("deepseek", re.compile("<｜tool▁calls▁begin｜>.*```json", re.DOTALL)),
    ("deepseek_v31", re.compile("<｜tool▁calls▁begin｜>")),
    ("mistral", re.compile(r"\[TOOL_CALLS\]")),
    ("glm", re.compile("<arg_key>")),
    ("qwen_xml", re.compile(r"<tool_call>(?:\\n|\s)*<function=")),
    ("hermes", re.compile(r"json object with function name and arguments within <tool_call>")),
    ("hermes", re.compile(r"<tool_call>(?:\\n|\s)*\{")),
    ("llama4", re.compile(r"<\|header_start\|>")),
    ("llama3", re.compile(r'\{"name": function name, "parameters": ')),
)

# Tokens that only models of the family have.
_AMONG_TOKENS = (
    ("gpt_oss", "<|channel|>"),
    ("gemma", "<|tool_call>"),
    ("kimi_k2", "<|tool_calls_section_begin|>"),
    ("dsml", "｜DSML｜"),
    ("deepseek", "<｜tool▁calls▁begin｜>"),
    ("mistral", "[TOOL_CALLS]"),
    ("llama4", "<|python_start|>"),
    ("llama3", "<|python_tag|>"),
)


def detect_family(template: str | None, tokens: Collection[str]) -> Family:
    """The family that a model belongs to.

    Args:
        template: its chat template; None: there is none.
        tokens: the tokenizer's added tokens, which tell where there is no template.

    Returns:
        The family, without marks of thoughts where the template shows none; "plain" if the model is
        of no known family.
    """
    if template is None:
        known = set(tokens)
        return FAMILIES[next((name for name, token in _AMONG_TOKENS if token in known), "plain")]
    name = next((name for name, sign in _IN_TEMPLATE if sign.search(template)), "plain")
    family = FAMILIES[name]
    if any(sign in template for sign in family.thinks):
        return family
    return replace(family, thought_marks=None)
