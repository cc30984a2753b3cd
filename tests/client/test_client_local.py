"""Local models are loaded when they are needed."""

from __future__ import annotations

import json

import pytest
from client_scripted import text

from marsys.agents.exceptions import ModelAPIError, ModelConfigurationError, ModelTimeoutError
from marsys.models import BaseLocalModel, ModelConfig
from marsys.v1 import Backend, ErrorReason, LoadOptions, LoadStage, ModelClass, ModelError

HELLO = [{"role": "user", "content": "Hello!"}]
NOT_LOADED = ModelError(reason=ErrorReason.ERROR_REASON_MODEL_NOT_LOADED, message="load it")
UNKNOWN = ModelError(reason=ErrorReason.ERROR_REASON_INVALID_MODEL, message="no such model")
LOADING = ModelError(reason=ErrorReason.ERROR_REASON_MODEL_LOADING, message="soon")
FAILED = ModelError(reason=ErrorReason.ERROR_REASON_MODEL_LOAD_FAILED, message="broken weights")
UNIMPLEMENTED = ModelError(reason=ErrorReason.ERROR_REASON_UNIMPLEMENTED, message="not here")


@pytest.mark.parametrize("error", [NOT_LOADED, UNKNOWN], ids=["not loaded", "unknown"])
@pytest.mark.parametrize("how", ["run", "stream"])
def test_a_model_is_loaded_at_the_first_call(service, error, how):
    service.fail(error)
    service.say(text("Hi"))
    stages = []
    model = BaseLocalModel(
        "tiny",
        target=service.address,
        torch_dtype="bfloat16",
        on_load=lambda progress: stages.append(progress.stage),
    )
    if how == "run":
        assert model.run(HELLO)["content"] == "Hi"
    else:
        assert "".join(chunk["content"] for chunk in model.stream(HELLO)) == "Hi"
    (load,) = service.loads
    assert load.model == "tiny"
    assert load.options == LoadOptions(
        model_class=ModelClass.MODEL_CLASS_LLM,
        backend=Backend.BACKEND_HUGGINGFACE,
        torch_dtype="bfloat16",
    )
    assert stages == [LoadStage.LOAD_STAGE_DOWNLOADING, LoadStage.LOAD_STAGE_READY]
    assert [request.model for request in service.requests] == ["tiny", "loaded-name"]
    assert service.requests[0].config.max_tokens == 1024
    model.run(HELLO)
    assert service.requests[-1].model == "loaded-name"


async def test_the_asynchronous_forms_load_too(service, local_model):
    service.replies = []
    for _ in range(3):
        service.fail(NOT_LOADED)
        service.say(text("Hi"))
    assert (await local_model.arun(HELLO))["content"] == "Hi"
    assert (await local_model.run(HELLO))["content"] == "Hi"
    assert "".join([c["content"] async for c in local_model.stream(HELLO)]) == "Hi"
    assert len(service.loads) == 3


async def test_a_pending_response_that_is_read_loads_too(service, local_model):
    service.fail(NOT_LOADED)
    service.say(text("Hi"))
    assert local_model.run(HELLO)["content"] == "Hi"


def test_a_model_that_stays_away_is_an_error(service, local_model):
    service.fail(NOT_LOADED)
    with pytest.raises(ModelAPIError, match="load it"):
        local_model.run(HELLO)
    assert len(service.loads) == 1
    assert len(service.requests) == 2


def test_a_load_that_fails(service, local_model):
    service.fail(UNKNOWN)
    service.load_reply = FAILED
    with pytest.raises(ModelAPIError, match="broken weights") as caught:
        local_model.run(HELLO)
    assert caught.value.reason == "MODEL_LOAD_FAILED"
    with pytest.raises(ModelAPIError, match="broken weights"):
        list(local_model.stream(HELLO))


def test_a_service_that_loads_nothing(service, local_model):
    service.fail(UNKNOWN)
    service.load_reply = UNIMPLEMENTED
    with pytest.raises(ModelAPIError, match="no such model"):
        local_model.run(HELLO)


def test_a_model_that_somebody_else_loads_is_waited_for(service, local_model):
    service.fail(LOADING)
    service.say(text("Hi"))
    assert local_model.run(HELLO)["content"] == "Hi"
    assert service.loads == []


async def test_waiting_ends_with_the_deadline(service, local_model):
    service.fail(LOADING)
    with pytest.raises(ModelTimeoutError, match=r"within 0\.3 s"):
        local_model.run(HELLO, timeout=0.3).result()
    with pytest.raises(ModelTimeoutError):
        await local_model.arun(HELLO, timeout=0.3)
    with pytest.raises(ModelTimeoutError):
        list(local_model.stream(HELLO, timeout=0.3))


async def test_loading_beforehand(service, local_model):
    service.say(text("Hi"))
    local_model.load()
    await local_model.aload()
    assert len(service.loads) == 2
    local_model.run(HELLO).result()
    assert service.requests[0].model == "loaded-name"
    service.load_reply = FAILED
    with pytest.raises(ModelAPIError, match="broken weights"):
        local_model.load()


def test_every_option(service):
    class Dtype:
        def __str__(self) -> str:
            return "torch.float16"

    model = BaseLocalModel(
        "tiny",
        "vlm",
        "vllm",
        target=service.address,
        torch_dtype=Dtype(),
        device_map="cuda",
        trust_remote_code=True,
        revision="v1",
        max_model_len=512,
        tensor_parallel_size=2,
        gpu_memory_utilization=0.5,
        quantization="fp8",
        engine_options={"a": 1},
    )
    model.load()
    options = service.loads[0].options
    assert json.loads(options.engine_options_json) == {"a": 1}
    options.ClearField("engine_options_json")
    assert options == LoadOptions(
        model_class=ModelClass.MODEL_CLASS_VLM,
        backend=Backend.BACKEND_VLLM,
        torch_dtype="float16",
        device_map="cuda",
        trust_remote_code=True,
        revision="v1",
        max_model_len=512,
        tensor_parallel_size=2,
        gpu_memory_utilization=0.5,
        quantization="fp8",
    )


def test_a_config_gives_the_options_that_it_sets(service):
    config = ModelConfig(
        type="local", name="tiny", model_class="vlm", device_map="cpu", quantization=None
    )
    BaseLocalModel.from_config(config, target=service.address).load()
    assert service.loads[0].options == LoadOptions(
        model_class=ModelClass.MODEL_CLASS_VLM,
        backend=Backend.BACKEND_HUGGINGFACE,
        device_map="cpu",
    )


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"model_class": "tts"}, "model_class"),
        ({"backend": "tgi"}, "backend"),
        ({"tensor_parallel_size": "two"}, "tensor_parallel_size"),
        ({"engine_options": {"a": object()}}, "engine_options"),
        ({"devicemap": "cpu"}, "devicemap"),
    ],
)
def test_wrong_options(arguments, field):
    with pytest.raises(ModelConfigurationError) as caught:
        BaseLocalModel("tiny", **arguments)
    assert caught.value.field == field
