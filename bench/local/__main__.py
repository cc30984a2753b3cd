"""Local inference, side by side in one run: `python bench/local`.

Plain `model.generate`, our transformers adapter through gRPC, our vLLM adapter through gRPC, vLLM
offline and vLLM's own OpenAI server answer the same prompts with greedy decoding. Each side runs in
processes of its own, one side after the other, round after round; what counts are the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from machine import describe, has_gpu
from offline import offline
from openai_server import openai_server
from service import service
from workload import Figures, Side, Workload

SIDES: dict[str, Side] = {
    "model.generate, one at a time": offline("generate"),
    "marsys, transformers": service("huggingface"),
    "vLLM offline (LLM.generate)": offline("vllm"),
    "marsys, vLLM": service("vllm"),
    "vLLM's OpenAI server": openai_server(),
}
VLLM = [name for name in SIDES if "vLLM" in name]

# What must hold: a side, another one, how many at once, and the least ratio of their tokens/s.
LIMITS = (
    ("marsys, transformers", "model.generate, one at a time", 16, 4.0),
    ("marsys, transformers", "model.generate, one at a time", 1, 0.9),
    ("marsys, vLLM", "vLLM offline (LLM.generate)", 16, 0.9),
    ("marsys, vLLM", "vLLM offline (LLM.generate)", 32, 0.9),
)

Results = dict[str, dict[int, list[Figures]]]


def main() -> int:
    arguments = _arguments()
    names = [name for name in SIDES if arguments.vllm or name not in VLLM]
    work = Workload(
        model=arguments.model,
        levels=tuple(arguments.levels),
        tokens=arguments.tokens,
        dtype=arguments.dtype or ("bfloat16" if has_gpu() else "float32"),
        most=max(arguments.levels),
    )
    results: Results = {name: {level: [] for level in work.levels} for name in names}
    for number in range(arguments.rounds):
        for name in names:
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
            for level, figures in SIDES[name](work).items():
                results[name][level].append(figures)
    middle = {
        name: {level: _middle(rounds) for level, rounds in levels.items()}
        for name, levels in results.items()
    }
    print(_table(middle, work, arguments.rounds))
    if arguments.json:
        arguments.json.write_text(json.dumps(middle, default=lambda figures: figures._asdict()))
    return _check(middle) if arguments.check else 0


def _middle(rounds: Sequence[Figures]) -> Figures:
    return Figures(*(_median(column) for column in zip(*rounds, strict=True)))


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _table(middle: dict[str, dict[int, Figures]], work: Workload, rounds: int) -> str:
    lines = [
        describe(),
        f"{work.model}, {work.dtype}, {work.tokens} tokens each, greedy, medians of {rounds} "
        "rounds: tokens/s (first token in ms, between tokens in ms)",
        "",
        "| side | " + " | ".join(f"{level} at once" for level in work.levels) + " |",
        "|---|" + "---|" * len(work.levels),
    ]
    for name, levels in middle.items():
        cells = " | ".join(str(levels[level]) for level in work.levels)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def _check(middle: dict[str, dict[int, Figures]]) -> int:
    failed = 0
    for name, other, level, least in LIMITS:
        if level not in middle.get(name, {}) or level not in middle.get(other, {}):
            continue
        ratio = middle[name][level].rate / middle[other][level].rate
        word = "ok" if ratio >= least else "TOO SLOW"
        failed += ratio < least
        print(f"{word}: {name} / {other}, {level} at once: {ratio:.2f} (least {least})")
    return int(failed > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/local", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="embedded, or a directory")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", help="default: bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--vllm", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--check", action="store_true", help="fail below the ratios to be held")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
