"""How to choose tokens, and why a generation ended, in vLLM's words."""

from __future__ import annotations

from typing import Any

from local_inference_service.output import Output
from local_inference_service.sampling import SamplingParams
from marsys.v1 import FinishReason


def to_vllm(params: SamplingParams, stops: list[str], max_tokens: int) -> Any:
    """vLLM's SamplingParams.

    Args:
        params: how to choose tokens.
        stops: strings that end the text.
        max_tokens: most tokens to generate.
    """
    from vllm import SamplingParams as VLLMParams
    from vllm.sampling_params import RequestOutputKind

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
        output_kind=RequestOutputKind.DELTA,
    )


def to_output(result: Any, tokens: int) -> Output:
    """What one RequestOutput of vLLM gave.

    Args:
        result: the RequestOutput; its text and tokens are those since the one before.
        tokens: how many had come before it.
    """
    (answer,) = result.outputs
    tokens += len(answer.token_ids)
    if answer.finish_reason is None:
        return Output(text=answer.text, tokens=tokens)
    stop = answer.stop_reason if isinstance(answer.stop_reason, str) else None
    if answer.finish_reason == "length":
        finish, raw = FinishReason.FINISH_REASON_LENGTH, "length"
    elif answer.finish_reason == "stop":
        finish, raw = FinishReason.FINISH_REASON_STOP, "eos" if stop is None else "stop"
    else:
        error = RuntimeError(f"vLLM ended the request: {answer.finish_reason}")
        return Output(text=answer.text, tokens=tokens, error=error)
    return Output(answer.text, tokens, finish, raw, stop, result.num_cached_tokens or 0)
