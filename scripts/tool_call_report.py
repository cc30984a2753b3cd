"""Write docs/tool-calls.md: how tool calls and thoughts are read, and how well.

Runs the parsers over all fixtures of canitoolcall. Fails if one doesn't pass and isn't explained
here, or is explained and passes.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(_ROOT / "tests" / "local"))

from parsing_fixtures import SPLITS, fixtures, judge  # noqa: E402

from local_inference_service.parsing import FAMILIES  # noqa: E402

# Models, and how they write a call.
_MODELS = {
    "hermes": ("Qwen 2.5 and 3, QwQ, Hermes 2 Pro and 3, Granite 4", "JSON in `<tool_call>` tags"),
    "qwen_xml": (
        "Qwen3-Coder, Qwen 3.5 and later, Nemotron 3 Nano, Step 3.5",
        "`<function=…>` and `<parameter=…>` tags",
    ),
    "llama3": ("Llama 3.1, 3.2, 3.3", "JSON, with `<\\|python_tag\\|>` or without"),
    "llama4": ("Llama 4", "a Python list of calls, or JSON"),
    "mistral": (
        "Mistral, Ministral, Magistral, Devstral",
        "`[TOOL_CALLS]` with a JSON list, or with a name and `[ARGS]`",
    ),
    "deepseek": ("DeepSeek V3, R1 and its distillates", "special tokens and fenced JSON"),
    "deepseek_v31": ("DeepSeek V3.1", "special tokens and JSON"),
    "dsml": ("DeepSeek V3.2, V4, V4.1", "`<｜DSML｜…>` tags"),
    "gemma": ("Gemma 4", "`call:name{…}` in an object notation of its own, or JSON"),
    "gpt_oss": ("gpt-oss", "messages on channels (Harmony)"),
    "glm": ("GLM 4.5 and later, Ling 3", "`<arg_key>` and `<arg_value>` tags"),
    "kimi_k2": ("Kimi K2", "special tokens and JSON; the id holds the name"),
    "kimi_k3": ("Kimi K3", "elements made of special tokens"),
    "plain": ("all others", "none; thoughts in `<think>` tags are split off"),
}

# Published in the README of canitoolcall 0.1.1, for the snapshot of 2026-09-25.
_ENGINES = (
    ("vLLM 0.30.0", 469, 268, 86, 115),
    ("SGLang 0.5.20", 448, 189, 62, 197),
    ("llama.cpp a25c9865", 438, 278, 46, 114),
    ("Ollama 7af39318", 261, 224, 10, 27),
    ("transformers 5.17.0", 48, 33, 7, 8),
)

_EXPLANATIONS = {
    "gemma4/vllm-text-before-call": (
        "It wants the space between a text and a call dropped. `gemma4/sglang-text-before-call` "
        "and `gemma4/sglang-text-around-call` want the same space kept, and we keep it."
    ),
}

_TEXT = """\
# Tool calls and thoughts of local models

Every model family has a notation of its own for tool calls and thoughts. A parser of our own reads
it while the model writes, on both backends: text, reasoning and the arguments of calls are streamed
as far as they are certain. This page is written by `scripts/tool_call_report.py`.

## Families

| family | models | a call is written as |
|---|---|---|
{families}

A model's family is found by its chat template, or by its tokenizer's added tokens where it has no
template. To name another one, load the model with `engine_options_json` `{{"tool_parser":
"hermes"}}`, or give an adapter `tool_parser="hermes"`.

A model whose chat template has no place for tools gets their definitions as plain text. It is asked
to write calls in Hermes' form, and they are read so:

```
<tool_call>
{{"name": "get_weather", "arguments": {{"city": "Oslo"}}}}
</tool_call>
```

Arguments that a model writes as JSON are handed on as they come. Where they stand between tags, the
tool's schema tells whether `5` is a number or a string; what doesn't fit its type stays a string.
A Python list of calls is certain once it is closed, and its calls come then.

A call that was cut off by `max_tokens`, or whose arguments are no JSON object, is **incomplete**.
Its part has `incomplete` set and a warning comes with it: it must not be run. What only looks like
a call, but names none, is text.

## Against canitoolcall

[canitoolcall](https://pypi.org/project/canitoolcall/) {version} has {total} fixtures, each the raw
answer of a model and what it means, taken from templates, the engines' own tests and bug reports.
Each is read whole, character by character, and in two pieces, split at every place ({splits} places
of a longer text). It passes if the suite's checks hold for the whole text and every way to split it
gives the same; softly if white space at the ends differs. The parsers were written with these
fixtures at hand: the table shows that they are met, not how texts fare that nobody has seen.

| fixtures of | fixtures | pass | soft pass | fail |
|---|---:|---:|---:|---:|
{table}

{explanations}

The engines' figures, as that package's README gives them for 2026-09-25. They come from splits at
tokens, and each engine takes a part of the fixtures.

| engine | fixtures | pass | soft pass | fail |
|---|---:|---:|---:|---:|
{engines}
"""


def report() -> str:
    """The page.

    Raises:
        ValueError: a fixture that doesn't pass isn't explained, or one that passes is.
    """
    found = {fixture.id: judge(fixture) for fixture in fixtures()}
    odd = {name: row for name, row in found.items() if row.status.value != "pass"}
    if wrong := odd.keys() ^ _EXPLANATIONS.keys():
        details = [f"{name}: {odd.get(name, 'passes')}" for name in sorted(wrong)]
        raise ValueError("explanations don't fit the run:\n" + "\n".join(details))
    counts: dict[str, Counter[str]] = {}
    for name, row in found.items():
        counts.setdefault(name.partition("/")[0], Counter())[row.status.value] += 1
    total = sum(counts.values(), Counter())
    lines = [_line(family, count) for family, count in sorted(counts.items())]
    lines.append(_line("**all**", total))
    return _TEXT.format(
        families="\n".join(f"| `{name}` | {' | '.join(_MODELS[name])} |" for name in FAMILIES),
        version=version("canitoolcall"),
        total=total.total(),
        splits=SPLITS,
        table="\n".join(lines),
        explanations="\n".join(
            f"- `{name}` ({odd[name].status.value.replace('_', ' ')}): {why}"
            for name, why in _EXPLANATIONS.items()
        ),
        engines="\n".join(f"| {' | '.join(map(str, engine))} |" for engine in _ENGINES),
    )


def _line(name: str, count: Mapping[str, int]) -> str:
    numbers = [sum(count.values()), count["pass"], count["soft_pass"], count["fail"]]
    return f"| {name} | {' | '.join(map(str, numbers))} |"


def main() -> None:
    """Write the page."""
    (_ROOT / "docs" / "tool-calls.md").write_text(report())


if __name__ == "__main__":
    main()
