"""Models as rows of a table, and as JSON."""

from __future__ import annotations

import json
from typing import Any

import typer
from google.protobuf.json_format import MessageToDict
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from marsys.cli._terminal import plain
from marsys.v1 import Backend, LoadOptions, Model, ModelClass, ModelState

_GAP = 2
_NUMBERS = ("context", "memory")
_STYLES = {"ready": "green", "loading": "yellow", "unloading": "yellow", "failed": "red"}


def facts(model: Model) -> dict[str, Any]:
    """A model for JSON: the contract's fields, in plain words where it has enums, whole numbers
    as numbers."""
    found: dict[str, Any] = MessageToDict(model, preserving_proto_field_name=True)
    for name in ("context_length", "max_output_tokens", "memory_bytes"):
        if name in found:  # protobuf's JSON has 64-bit numbers as text
            found[name] = int(found[name])
    options = model.load_options
    if model.HasField("load_options"):
        found["load_options"] |= {"backend": backend(options), "model_class": kind(options)}
    return {**found, "state": state(model)}


def print_json(value: Any) -> None:
    """Print a value on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print rows on standard output; nothing where there are none.

    No name is cut: on a narrow terminal the last columns are left out. In a pipe none is.
    """
    if not rows:
        return
    console = Console(highlight=False)
    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    shown = len(columns)
    if console.is_terminal:
        while shown > 1 and sum(widths[:shown]) + _GAP * (shown - 1) > console.width:
            shown -= 1
    for number, row in enumerate([columns, *rows]):
        line = Text()
        for column, cell, width in zip(columns[:shown], row, widths, strict=False):
            cell = plain(cell)
            space = " " * (width - cell_len(cell))
            style = "bold" if number == 0 else _STYLES.get(cell, "")
            line.append(space if column in _NUMBERS else "").append(cell, style)
            line.append(("" if column in _NUMBERS else space) + " " * _GAP)
        line.rstrip()
        console.print(line, soft_wrap=True)


def state(model: Model) -> str:
    """A model's state in a word; empty where unknown."""
    if model.state not in ModelState.values() or not model.state:
        return ""
    return ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower()


def kind(options: LoadOptions) -> str:
    """ "llm" or "vlm"."""
    return "vlm" if options.model_class == ModelClass.MODEL_CLASS_VLM else "llm"


def backend(options: LoadOptions) -> str:
    """ "huggingface" or "vllm"."""
    return "vllm" if options.backend == Backend.BACKEND_VLLM else "huggingface"


def context(model: Model) -> str:
    """A model's context in tokens; empty where unknown."""
    return f"{model.context_length}" if model.HasField("context_length") else ""


def memory(model: Model) -> str:
    """Memory that a model's weights take; empty where unknown."""
    return size(model.memory_bytes) if model.HasField("memory_bytes") else ""


def size(count: int) -> str:
    """Bytes in words: "538 MB"."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
