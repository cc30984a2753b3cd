"""Python functions of a file, offered to the model as tools."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marsys.agents.exceptions import ModelAPIError, ModelConfigurationError
from marsys.models._calls import run_calls
from marsys.models._functions import split_tools


class ToolFile:
    """The public functions that a Python file defines; its `__all__` narrows them down.

    A function's docstring and type hints tell the model what it does and takes. Arguments are
    checked against the hints before it is called. It may be a coroutine function.

    Args:
        path: the file. It is run.

    Raises:
        ModelConfigurationError: it can't be run, or a function can't be a tool.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._functions, self.definitions = split_tools(list(_functions(path).values()))
        except ModelAPIError as error:
            raise _wrong(f"{path}: {error.message.removeprefix(f'{error.field}: ')}") from None

    @property
    def names(self) -> list[str]:
        """The tools' names."""
        return list(self._functions)

    def call(self, name: str, arguments: str) -> tuple[str, bool]:
        """Call a tool. What it prints goes to standard error.

        Args:
            name: as the model gave it.
            arguments: text of a JSON object.

        Returns:
            The result as text (JSON where it's no str), and whether it failed.
        """
        if name not in self._functions:
            return f"there is no tool {name!r}; there are: {', '.join(self.names)}", True
        call = {"id": "", "function": {"name": name, "arguments": arguments}}
        with contextlib.redirect_stdout(sys.stderr):
            (result,) = run_calls(self._functions, [call])
        return result.content, result.is_error


def _functions(path: Path) -> dict[str, Callable[..., Any]]:
    spec = importlib.util.spec_from_file_location(f"_marsys_tools_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise _wrong(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where type hints of its classes are looked up
    sys.path.insert(0, str(path.absolute().parent))  # its neighbours, as for `python FILE`
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _wrong(f"{path} can't be run: {type(error).__name__}: {error}") from None
    named = getattr(module, "__all__", None)
    found: dict[str, Callable[..., Any]] = {
        name: value
        for name, value in vars(module).items()
        if inspect.isroutine(value)
        and (
            name in named
            if named is not None
            else not name.startswith("_") and value.__module__ == module.__name__
        )
    }
    if not found:
        raise _wrong(f"{path} defines no public function")
    return found


def _wrong(message: str) -> ModelConfigurationError:
    return ModelConfigurationError(f"tools: {message}", field="tools")
