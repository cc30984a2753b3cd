"""Python functions as tools: what the model is told of them, and what it may call them with."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from marsys.agents.exceptions import ModelAPIError
from marsys.models._calls import arun_calls, run_calls
from marsys.models._functions import Function, split_tools


class Unit(Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


class Place(BaseModel):
    city: str
    country: str = "FR"


def weather(
    place: Place,
    days: Annotated[int, Field(ge=1, le=7)] = 1,
    unit: Unit = Unit.CELSIUS,
    mode: Literal["short", "long"] = "short",
    tags: list[str] | None = None,
) -> str:
    """Tell the weather.

    Over several lines.

    Args:
        place: where it is
            asked for.
        days (int): how many days.
        tags: words to look for: any.

    Returns:
        The weather: in words.

    Raises:
        ValueError: never: really.
    """
    return f"{type(place).__name__} {place.city} {days} {unit.value} {mode} {tags}"


def call(name: str, arguments: str, call_id: str = "c") -> dict[str, Any]:
    return {"id": call_id, "function": {"name": name, "arguments": arguments}}


def test_what_the_model_is_told() -> None:
    definition: Any = Function(weather, "tools[0]").definition["function"]
    assert definition["name"] == "weather"
    assert definition["description"] == "Tell the weather.\n\nOver several lines."
    schema = definition["parameters"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    told = {name: prop.get("description") for name, prop in schema["properties"].items()}
    assert told == {
        "place": "where it is asked for.",
        "days": "how many days.",
        "unit": None,
        "mode": None,
        "tags": "words to look for: any.",
    }
    assert schema["properties"]["days"]["maximum"] == 7
    assert schema["properties"]["mode"]["enum"] == ["short", "long"]


def test_other_docstrings() -> None:
    def sphinx(a: int, b: str) -> None:
        """Do it.

        :param a: the first
        :param str b: the second
            of them
        :returns: nothing
        """

    def bare(a, b=2):
        return a, b

    schema: Any = Function(sphinx, "t").definition["function"]["parameters"]
    assert [prop["description"] for prop in schema["properties"].values()] == [
        "the first",
        "the second of them",
    ]
    told: Any = Function(bare, "t").definition["function"]
    assert (told["description"], told["parameters"]["required"]) == ("", ["a"])


def test_arguments_become_what_the_hints_say() -> None:
    function = Function(weather, "t")
    value = function.call('{"place": {"city": "Paris"}, "unit": "kelvin", "tags": ["x"]}')
    assert value == "Place Paris 1 kelvin short ['x']"
    assert Function(lambda: "nothing", "t").call("") == "nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{}", "place: Field required"),
        ('{"place": {"city": 7}}', "place.city: Input should be a valid string"),
        ('{"place": {"city": "x"}, "days": 9}', "days: Input should be less than or equal to 7"),
        ('{"place": {"city": "x"}, "colour": 1}', "colour: Extra inputs are not permitted"),
        ("[]", "arguments: "),
        ("no json", "arguments: Invalid JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_told_to_the_model(arguments: str, said: str) -> None:
    functions, _ = split_tools([weather])
    (result,) = run_calls(functions, [call("weather", arguments)])
    assert result.is_error
    assert result.content.startswith(said)


def _varied(*values: int) -> None: ...
def _open(**values: int) -> None: ...
def _by_place(a: int, /) -> None: ...
def _private(_a: int) -> None: ...
def _unknown(a: Nowhere) -> None: ...  # noqa: F821  # type: ignore[name-defined]
def _odd(a: asyncio.AbstractEventLoop) -> None: ...


@pytest.mark.parametrize("function", [_varied, _open, _by_place, _private, _unknown, _odd])
def test_functions_that_no_model_can_call(function: Any) -> None:
    with pytest.raises(ModelAPIError) as caught:
        split_tools([weather, function])
    assert caught.value.field == "tools[1]"


def test_a_name_stands_once() -> None:
    with pytest.raises(ModelAPIError, match="stands twice"):
        split_tools([weather, weather])


def test_methods_and_objects() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def add(self, n: int) -> int:
            """Add."""
            self.count += n
            return self.count

    counter = Counter()
    functions, definitions = split_tools([counter.add, {"name": "other"}])
    assert [each.get("function", each)["name"] for each in definitions] == ["add", "other"]
    (result,) = run_calls(functions, [call("add", '{"n": 3}')])
    assert (result.content, counter.count) == ("3", 3)


async def test_results_as_text() -> None:
    async def give(what: str) -> Any:
        return {
            "text": "as it is",
            "none": None,
            "list": [1, "é"],
            "model": Place(city="Rome"),
            "object": Unit,
        }[what]

    functions, _ = split_tools([give])
    calls = [
        call("give", f'{{"what": "{what}"}}', what) for what in ("text", "none", "list", "model")
    ]
    results = await arun_calls(functions, calls)
    assert [result.content for result in results] == [
        "as it is",
        "",
        '[1, "é"]',
        '{"city":"Rome","country":"FR"}',
    ]
    assert [result.call_id for result in results] == ["text", "none", "list", "model"]
    (failed,) = await arun_calls(functions, [call("give", '{"what": "lost"}')])
    assert (failed.content, failed.is_error) == ("KeyError: 'lost'", True)
