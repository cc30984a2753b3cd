"""How to choose tokens, and why a generation ended, in vLLM's words."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from local_inference_service.constraints import Grammar
from local_inference_service.output import Output
from local_inference_service.sampling import SamplingParams
from marsys.v1 import FinishReason


def to_vllm(
    params: SamplingParams,
    stops: list[str],
    max_tokens: int,
    budget: int | None,
    grammar: Grammar | None,
) -> Any:
    """vLLM's SamplingParams.

    Args:
        params: how to choose tokens.
        stops: strings that end the text.
        max_tokens: most tokens to generate.
        budget: most tokens of reasoning; None: no limit.
        grammar: that the answer must keep to; None: none.
    """
    from vllm import SamplingParams as VLLMParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return VLLMParams(
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        frequency_penalty=params.frequency_penalty,
        presence_penalty=params.presence_penalty,
        repetition_penalty=params.repetition_penalty,
        seed=None if params.seed is None else params.seed % 2**63,
        stop=stops,
        max_tokens=max_tokens,
        thinking_token_budget=budget,
        skip_special_tokens=False,
        spaces_between_special_tokens=False,
        structured_outputs=StructuredOutputsParams(grammar=grammar.lark) if grammar else None,
        output_kind=RequestOutputKind.DELTA,
    )


def hidden_tokens(tokenizer: Any, markers: Collection[str]) -> re.Pattern[str]:
    """Matches the special tokens that no text shows: all but those with a meaning.

    Args:
        tokenizer: a transformers tokenizer.
        markers: texts of the tokens that the parser wants to see.
    """
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    texts = sorted(special - set(markers), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, texts)) or r"(?!)")


def to_output(result: Any, tokens: int, hidden: re.Pattern[str]) -> Output:
    """What one RequestOutput of vLLM gave.

    Args:
        result: the RequestOutput; its text and tokens are those since the one before.
        tokens: how many had come before it.
        hidden: matches what no text shows.
    """
    (answer,) = result.outputs
    text = hidden.sub("", answer.text)
    tokens += len(answer.token_ids)
    if answer.finish_reason is None:
        return Output(text=text, tokens=tokens)
    stop = answer.stop_reason if isinstance(answer.stop_reason, str) else None
    if answer.finish_reason == "length":
        finish, raw = FinishReason.FINISH_REASON_LENGTH, "length"
    elif answer.finish_reason == "stop":
        finish, raw = FinishReason.FINISH_REASON_STOP, "eos" if stop is None else "stop"
    else:
        error = RuntimeError(f"vLLM ended the request: {answer.finish_reason}")
        return Output(text=text, tokens=tokens, error=error)
    return Output(text, tokens, finish, raw, stop, result.num_cached_tokens or 0)
