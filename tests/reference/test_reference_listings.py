"""What the page lists: fields, signatures, properties and tables are ours."""

from __future__ import annotations

import inspect
import re
from abc import ABC
from pathlib import Path
from typing import Any, Optional, get_args, get_origin

import pytest
from page_providers import KEYS, PageProviders
from pydantic import BaseModel, ValidationError
from reference_page import Example, Page

import marsys.models
from api_service.providers.table import PROVIDERS
from marsys.models import BaseAPIModel, BaseLocalModel, ModelConfig

MODEL_NAMES = r"[a-z]+-[\w.-]+"


def test_every_example_of_the_page_has_a_test(page: Page) -> None:
    ours = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert set(re.findall(r'mark\.example\("(.+?)"\)', ours)) == set(page.examples)


@pytest.mark.example("ModelConfig / Class Definition#1")
def test_configuration_has_the_listed_fields(example: Example) -> None:
    listed: type[BaseModel] = example.run()["ModelConfig"]
    for name, field in listed.model_fields.items():
        mine = ModelConfig.model_fields[name]
        assert _same_type(mine.annotation, field.annotation), name
        assert mine.default == field.default, name
        assert mine.is_required() == field.is_required(), name
        assert mine.default_factory == field.default_factory, name
        assert _same_words(mine.description, field.description), name
    # What ours has besides, the page uses elsewhere or passes to local models.
    assert set(ModelConfig.model_fields) - set(listed.model_fields) == {
        "credentials_path",
        "trust_remote_code",
    }


@pytest.mark.example("ModelConfig / Class Definition#1")
@pytest.mark.parametrize("number", [-2.001, -2, -0.001, 0, 0.5, 1, 1.001, 2, 2.001])
def test_configuration_has_the_listed_bounds(example: Example, number: float) -> None:
    listed: type[BaseModel] = example.run()["ModelConfig"]
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        asked = {"type": "api", "provider": "openai", "name": "m", name: number}
        assert _takes(ModelConfig, asked) == _takes(listed, asked), name


@pytest.mark.example("Model Classes / BaseLocalModel#1")
def test_local_model_takes_the_listed_arguments(example: Example) -> None:
    names = example.run(Optional=Optional)
    _assert_takes(BaseLocalModel, names["BaseLocalModel"])


@pytest.mark.example("Model Classes / BaseAPIModel#1")
def test_api_model_takes_the_listed_arguments(example: Example) -> None:
    names = example.run(Optional=Optional)
    _assert_takes(BaseAPIModel, names["BaseAPIModel"])


@pytest.mark.example("Model Classes / LocalProviderAdapter#1")
def test_adapters_have_the_listed_attributes(example: Example) -> None:
    listed = example.run(ABC=ABC, Any=Any)["LocalProviderAdapter"]
    mine = marsys.models.LocalProviderAdapter
    assert issubclass(mine, ABC)
    for name, value in vars(listed).items():
        if isinstance(value, property):
            assert isinstance(inspect.getattr_static(mine, name), property), name
        elif not name.startswith("_"):
            assert getattr(mine, name) is value, name
    with pytest.raises(TypeError, match="abstract"):
        mine()


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("provider", KEYS)
def test_each_provider_takes_its_key_from_the_listed_variable(
    page: Page, providers: PageProviders, provider: str
) -> None:
    (row,) = [row for row in page.table("Provider") if row[0] == provider]
    assert row[2] == KEYS[provider]
    for name in re.findall(MODEL_NAMES, row[1]):
        assert BaseAPIModel(provider=provider, model_name=name).run("Hi")["content"]
        asked = providers.asked[-1]
        carried = "".join(asked.headers.get(h, "") for h in ("Authorization", "x-api-key"))
        carried += asked.headers.get("x-goog-api-key", "")
        assert carried.removeprefix("Bearer ") == f"key-of-{provider}"
        alias = provider == "anthropic"  # whose own names have no dots
        assert asked.model == (name.replace(".", "-") if alias else name)


def test_the_listed_providers_are_ours(page: Page) -> None:
    assert {row[0] for row in page.table("Provider")} == set(PROVIDERS)


def _same_words(mine: str | None, listed: str | None) -> bool:
    """Whether ours says it too; it may say more."""
    wanted = re.findall(r"\w+", (listed or "").lower())
    return set(wanted) <= set(re.findall(r"\w+", (mine or "").lower()))


def _same_type(mine: Any, listed: Any) -> bool:
    """`typing.Dict` is `dict`."""
    return bool(
        mine == listed
        or (get_origin(mine), get_args(mine)) == (get_origin(listed), get_args(listed))
    )


def _takes(schema: type[BaseModel], values: dict[str, Any]) -> bool:
    try:
        schema(**values)
    except ValidationError:
        return False
    return True


def _assert_takes(mine: type, listed: type) -> None:
    """Our constructor takes the listed one's arguments, by name and by place, alike by default."""
    wanted = [*inspect.signature(listed).parameters.values()]
    ours = inspect.signature(mine).parameters
    by_place = [p.name for p in wanted if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [*ours][: len(by_place)] == by_place
    for parameter in wanted:
        if parameter.kind is parameter.VAR_KEYWORD:
            assert any(p.kind is p.VAR_KEYWORD for p in ours.values())
        elif parameter.default is not parameter.empty:
            assert ours[parameter.name].default == parameter.default, parameter.name
