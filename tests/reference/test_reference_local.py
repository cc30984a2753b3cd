"""The page's examples of local models, as they stand: real models of transformers.

The hub's cache holds small models under the page's names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_services import Service
from hub_cache import IMAGE_MODEL, TEXT_MODEL, make_hub_cache, run_program
from PIL import Image
from reference_page import Example

from marsys.models import BaseLocalModel

pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_hub_cache(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def address(cache: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """local_inference_service as a process."""
    service = Service("local_inference_service", tmp_path_factory.mktemp("l"), environment=cache)
    yield service.wait_ready().address
    service.stop()


@pytest.fixture
def local(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSYS_LOCAL_TARGET", address)


@pytest.mark.usefixtures("local")
@pytest.mark.example("Model Classes / BaseLocalModel / Methods / run#1")
def test_answers_have_the_listed_form(example: Example) -> None:
    listed = example.value()
    model = BaseLocalModel(model_name=TEXT_MODEL, max_tokens=8)
    response = model.run(messages=HELLO, json_mode=False, tools=None, images=None)
    assert isinstance(response, dict)
    assert response["role"] == listed["role"] == response.role
    assert isinstance(response["content"], str)
    assert response["tool_calls"] == listed["tool_calls"] == []
    assert response["thinking"] is None  # "Optional thinking content for thinking models"
    assert set(listed) <= set(response)


@pytest.mark.usefixtures("local")
@pytest.mark.example("Model Classes / BaseLocalModel / Methods / arun#1")
def test_local_models_answer(
    example: Example, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = example.run(way)
    assert capsys.readouterr().out == names["response"].content + "\n"
    assert "quantum" in names["response"]["content"].lower()
    vlm = names["vlm_model"]  # nothing is loaded before the first call
    assert (vlm.model_class, vlm.backend, vlm.max_tokens) == ("vlm", "vllm", 4096)


@pytest.mark.usefixtures("local")
@pytest.mark.example("Model Factory / Model Creation#2")
def test_local_models_from_a_configuration(example: Example, way: str) -> None:
    names = example.run(way)
    assert names["response"]["content"]
    assert names["config"].name == names["model"].model_name == TEXT_MODEL


@pytest.mark.example("Model Classes / HuggingFaceLLMAdapter#1")
def test_text_adapters_hold_the_weights(
    example: Example, way: str, cache: dict[str, str], tmp_path: Path
) -> None:
    said = run_program(
        example.program(
            way,
            "import json, torch",
            "before = next(pytorch_model.parameters()).detach().clone()",
            "optimizer = torch.optim.SGD(pytorch_model.parameters(), lr=0.1)",
            "ids = tokenizer('Hello to all of you', return_tensors='pt').input_ids",
            "pytorch_model(input_ids=ids, labels=ids).loss.backward()",
            "optimizer.step()",
            "print(json.dumps({'trained': adapter.supports_training,",
            "    'moved': not torch.equal(before, next(pytorch_model.parameters())),",
            "    'dtype': str(pytorch_model.dtype), 'backend': adapter.backend}))",
        ),
        tmp_path,
        cache,
    )
    assert said == {
        "trained": True,
        "moved": True,
        "dtype": "torch.bfloat16",
        "backend": "huggingface",
    }


@pytest.mark.example("Model Classes / HuggingFaceVLMAdapter#1")
def test_image_adapters_read_files(
    example: Example, way: str, cache: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "path" / "to").mkdir(parents=True)
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "path" / "to" / "image.jpg")
    said: Any = run_program(
        example.program(
            way,
            "import json",
            "without = adapter.run('What is in this image?', max_tokens=1)",
            "print(json.dumps({'response': response, 'without': without, 'class': "
            "type(adapter.model).__name__, 'name': adapter.model_name}))",
        ),
        tmp_path,
        cache,
    )
    assert isinstance(said["response"]["content"], str)
    prompt = said["response"]["usage"]["prompt_tokens"]
    assert prompt > said["without"]["usage"]["prompt_tokens"] + 10  # the image's places
    assert "ForConditionalGeneration" in said["class"]
    assert said["name"] == IMAGE_MODEL


@pytest.mark.example("Model Factory / LocalAdapterFactory#1")
def test_the_factory_makes_adapters(
    example: Example, way: str, cache: dict[str, str], tmp_path: Path
) -> None:
    said = run_program(
        example.program(
            way,
            "import json",
            "print(json.dumps([type(adapter).__name__, adapter.run('Hi', max_tokens=4).role]))",
        ),
        tmp_path,
        cache,
    )
    assert said == ["HuggingFaceLLMAdapter", "assistant"]
