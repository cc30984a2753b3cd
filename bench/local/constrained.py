"""What a constraint costs: `python bench/local/constrained.py`.

The transformers backend answers the same prompts, 16 at once, free and held to a JSON schema, round
after round in one process. What counts is the ratio of their tokens a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time

from directory import directory_of
from machine import describe
from workload import EMBEDDED, Workload

from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter
from marsys.v1 import GenerateRequest, Message, Part, Role, TextPart

_AT_ONCE = 16
_MOST_COST = 0.15
# Its shortest answer is longer than what is generated.
_SCHEMA = {
    "type": "array",
    "minItems": 100,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "kind": {"enum": ["person", "place", "thing"]},
            "number": {"type": "integer", "minimum": 0, "maximum": 999},
            "words": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,9}$"}},
        },
        "required": ["name", "kind", "number", "words"],
        "additionalProperties": False,
    },
}


def main() -> int:
    arguments = _arguments()
    work = Workload(EMBEDDED, (_AT_ONCE,), arguments.tokens, "float32", _AT_ONCE)
    adapter = HuggingFaceLLMAdapter(str(directory_of(work.model)), torch_dtype=work.dtype)
    rates: dict[bool, list[float]] = {False: [], True: []}
    try:
        for constrained in (False, True):
            asyncio.run(_rate(adapter, work, constrained))  # warms up
        for _ in range(arguments.rounds):
            for constrained, found in rates.items():
                found.append(asyncio.run(_rate(adapter, work, constrained)))
    finally:
        adapter.close()
    free, bound = (statistics.median(rates[constrained]) for constrained in (False, True))
    cost = statistics.median(
        1 - with_it / without for without, with_it in zip(rates[False], rates[True], strict=True)
    )
    print(describe())
    print(
        f"{work.model}, {work.dtype}, {_AT_ONCE} at once, {work.tokens} tokens each: "
        f"free {free:.1f} tokens/s, held to a JSON schema {bound:.1f}; "
        f"the constraint costs {cost:.1%} (median of {arguments.rounds} pairs)"
    )
    return int(arguments.check and cost > _MOST_COST)


async def _rate(adapter: HuggingFaceLLMAdapter, work: Workload, constrained: bool) -> float:
    """Tokens a second of all requests together."""
    begin = time.perf_counter()
    counts = await asyncio.gather(
        *(_tokens(adapter, work, words, constrained) for words in work.prompts(_AT_ONCE))
    )
    return sum(counts) / (time.perf_counter() - begin)


async def _tokens(
    adapter: HuggingFaceLLMAdapter, work: Workload, words: str, constrained: bool
) -> int:
    message = Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text=words))])
    request = GenerateRequest(model=work.model, messages=[message])
    request.config.max_tokens = work.tokens
    request.config.temperature = 0
    if constrained:
        request.output_format.json_schema.schema_json = json.dumps(_SCHEMA)
    tokens = 0
    async for events in adapter.generate(request, work.model):
        for event in events:
            if event.HasField("finished"):
                tokens = event.finished.usage.output_tokens
    return tokens


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--check", action="store_true", help="fail if it costs more than 15 %%")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
