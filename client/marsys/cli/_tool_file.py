"""Python functions of a file, offered to the model as tools."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError, validate_call
from pydantic.errors import PydanticUserError

from marsys.agents.exceptions import ModelConfigurationError


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
        self._functions = _functions(path)
        self.definitions = [_definition(function, path) for function in self._functions.values()]

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
        function = self._functions.get(name)
        if function is None:
            return f"there is no tool {name!r}; there are: {', '.join(self.names)}", True
        try:
            given = json.loads(arguments or "{}")
        except ValueError as error:
            return f"the arguments are no JSON: {error}", True
        if not isinstance(given, dict):
            return "the arguments must be a JSON object", True
        try:
            with contextlib.redirect_stdout(sys.stderr):
                result = validate_call(function)(**given)
                if inspect.isawaitable(result):
                    result = asyncio.run(_wait(result))
        except ValidationError as error:
            return _wrong_arguments(error), True
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error}", True
        return _as_text(result), False


async def _wait(result: Any) -> Any:
    return await result


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


def _definition(function: Callable[..., Any], path: Path) -> dict[str, Any]:
    name = function.__name__
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, function))
        schema = adapter.json_schema()
    except (PydanticUserError, NameError) as error:
        raise _wrong(f"{path}: {name}: {str(error).splitlines()[0]}") from None
    if schema.get("type") != "object":
        raise _wrong(f"{path}: {name}: its parameters must have names (no *args, no `/`)")
    facts = {"name": name, "description": inspect.getdoc(function) or "", "parameters": schema}
    return {"type": "function", "function": facts}


def _as_text(result: Any) -> str:
    if isinstance(result, str):
        return result
    try:
        return TypeAdapter(Any).dump_json(result).decode()
    except ValueError:
        return str(result)


def _wrong_arguments(error: ValidationError) -> str:
    wrong = [
        f"{'.'.join(str(step) for step in each['loc'])}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)
    ]
    return "wrong arguments: " + "; ".join(wrong)


def _wrong(message: str) -> ModelConfigurationError:
    return ModelConfigurationError(f"tools: {message}", field="tools")
