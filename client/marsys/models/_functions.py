"""Python functions as tools: their schema from type hints and docstring, and how they are run."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from marsys.models._errors import invalid

# "name: what it is" or "name (int): what it is" beneath "Args:", and Sphinx's ":param name: ...".
_ARGUMENT = re.compile(r"(?P<indent>\s+)\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?:\s*(?P<text>.*)")
_PARAM = re.compile(r"\s*:param\s+(?:[^:]*\s)?(?P<name>\w+):\s*(?P<text>.*)")
_SECTION = re.compile(
    r"\s*(?:Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?|Attributes):?\s*$"
)
_OPENING = re.compile(r"\s*(?:Args|Arguments|Parameters):\s*$")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a tool call.

    Attributes:
        call_id: id of the call.
        name: the tool's name.
        content: the result, or what went wrong: text, or parts.
        is_error: whether something did.
    """

    call_id: str
    name: str
    content: Any
    is_error: bool

    def message(self) -> dict[str, Any]:
        """The result as a message of the conversation."""
        message = {
            "role": "tool",
            "tool_call_id": self.call_id,
            "name": self.name,
            "content": self.content,
        }
        return message | {"is_error": True} if self.is_error else message


class Function:
    """A function that a model may call.

    Args:
        function: a function with named parameters; async ones too.
        path: where it stands among the arguments, for errors.

    Raises:
        ModelAPIError: a model can't call it; `field` says which and why.
    """

    def __init__(self, function: Callable[..., Any], path: str) -> None:
        from pydantic import ConfigDict, Field, create_model
        from pydantic.errors import PydanticSchemaGenerationError

        self.name = getattr(function, "__name__", type(function).__name__)
        self.is_async = inspect.iscoroutinefunction(function)
        self._function = function
        summary, about = _described(inspect.getdoc(function) or "")
        fields: dict[str, Any] = {}
        for name, parameter in _parameters(function, path).items():
            default = ... if parameter.default is parameter.empty else parameter.default
            hint = Any if parameter.annotation is parameter.empty else parameter.annotation
            fields[name] = hint, Field(default, description=about.get(name))
        try:
            self._arguments: Any = create_model(
                self.name, __config__=ConfigDict(extra="forbid"), **fields
            )
            schema = self._arguments.model_json_schema()
        except (PydanticSchemaGenerationError, TypeError, ValueError, NameError) as error:
            why = str(error).splitlines()[0]
            raise invalid(path, f"{self.name}: its parameters have no schema: {why}") from None
        schema.pop("title", None)
        for prop in schema.get("properties", {}).values():
            prop.pop("title", None)
        facts = {"name": self.name, "description": summary, "parameters": schema}
        self.definition = {"type": "function", "function": facts}

    def call(self, arguments: str) -> Any:
        """Call it: its result, or an awaitable of it where it is async.

        Raises:
            ValueError: the arguments don't fit.
            Exception: what the function raises.
        """
        read = self._arguments.model_validate_json(arguments or "{}")
        return self._function(**{name: getattr(read, name) for name in type(read).model_fields})


def split_tools(tools: Any) -> tuple[dict[str, Function], list[Any]]:
    """The functions among tools, and the definitions of all.

    Args:
        tools: functions, and definitions as `run` takes them.

    Raises:
        ModelAPIError: one can't be offered.
    """
    if not isinstance(tools, (list, tuple)):
        raise invalid("tools", "must be a list")
    functions: dict[str, Function] = {}
    definitions = []
    for index, tool in enumerate(tools):
        if isinstance(tool, Mapping) or not callable(tool):
            definitions.append(tool)
            continue
        function = Function(tool, f"tools[{index}]")
        if function.name in functions:
            raise invalid(f"tools[{index}]", f"{function.name!r} stands twice")
        functions[function.name] = function
        definitions.append(function.definition)
    return functions, definitions


def failed(call: Mapping[str, Any], error: BaseException) -> Result:
    """The result of a call that went wrong, as the model is told."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        words = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'arguments'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
    else:
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Result(call["id"], call["function"]["name"], words, is_error=True)


def succeeded(call: Mapping[str, Any], value: Any) -> Result:
    """The result of a call, as the model is told: text as it is, all else as JSON."""
    return Result(call["id"], call["function"]["name"], as_text(value), is_error=False)


def as_text(value: Any) -> str:
    """A value as text: text as it is, nothing as nothing, all else as JSON where it can be."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if hasattr(value, "model_dump_json"):
        return str(value.model_dump_json())
    return json.dumps(value, ensure_ascii=False, default=str)


def no_such_tool(call: Mapping[str, Any]) -> Result:
    """The result of a call of a tool that there is not, as the model is told."""
    name = call["function"]["name"]
    return Result(call["id"], name, f"There is no tool named {name!r}.", is_error=True)


async def awaited(value: Awaitable[Any]) -> Any:
    """The outcome of an awaitable."""
    return await value


def _parameters(function: Callable[..., Any], path: str) -> dict[str, inspect.Parameter]:
    own = getattr(function, "__name__", type(function).__name__)
    try:
        signature = inspect.signature(function, eval_str=True)
    except (TypeError, ValueError, NameError) as error:
        raise invalid(path, f"{own}: its parameters can't be read: {error}") from None
    for name, parameter in signature.parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise invalid(path, f"{own}: its parameters must have names, as {name!r} has none")
        if name.startswith("_"):
            raise invalid(path, f"{own}: {name!r} begins with an underscore, as no parameter may")
    return dict(signature.parameters)


def _described(doc: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of each argument."""
    summary: list[str] = []
    about: dict[str, str] = {}
    within = False  # the arguments' section
    name, depth = "", 0
    for line in doc.splitlines():
        param = _PARAM.match(line)
        if param is not None:
            name, depth, within = param["name"], 0, True
            about[name] = param["text"].strip()
        elif within and line.lstrip().startswith(":"):
            name = ""  # ":returns:" and its like
        elif _SECTION.match(line):
            within, name = bool(_OPENING.match(line)), ""
            if not within and not about:
                about[""] = ""  # other sections tell the model nothing
        elif within:
            found = _ARGUMENT.match(line)
            if found is not None and (not name or len(found["indent"]) <= depth):
                name, depth = found["name"], len(found["indent"])
                about[name] = found["text"].strip()
            elif name and line.strip():
                about[name] = f"{about[name]} {line.strip()}".strip()
        elif not about:
            summary.append(line)
    return "\n".join(summary).strip(), {key: text for key, text in about.items() if key and text}
