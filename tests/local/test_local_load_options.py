"""What callers may ask for when they load, and what operators may set."""

from __future__ import annotations

import json
from typing import Any

import pytest
from local_pool_bench import load, refused

from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter
from local_inference_service.load_options import LoadRules, adapter_arguments, conflicts
from local_inference_service.settings import LocalSettings
from marsys.v1 import Backend, ErrorReason, LoadOptions, LoadStage
from serving.errors import ServiceError
from serving.settings import load_settings

INVALID = ErrorReason.ERROR_REASON_INVALID_REQUEST
UNTAKEN = ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
FORBIDDEN = ErrorReason.ERROR_REASON_NOT_ALLOWED


@pytest.fixture
async def empty(serve, tiny_directory):
    return await serve(model="none", allow_model_paths=[tiny_directory.parent])


@pytest.fixture
def with_vllm(monkeypatch):
    """As if vLLM were installed: options are checked before it is imported."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


def options_error(rules: LoadRules | None = None, **options: Any) -> Any:
    with pytest.raises(ServiceError) as caught:
        adapter_arguments(LoadOptions(**options), rules or LoadRules())
    return caught.value.error


@pytest.mark.parametrize(
    ("options", "field", "reason", "said"),
    [
        ({"backend": 99}, "backend", INVALID, "no known backend"),
        ({"model_class": 99}, "model_class", INVALID, "no known kind"),
        ({"torch_dtype": "float99"}, "torch_dtype", INVALID, "float32"),
        ({"device_map": "cuda:99"}, "device_map", INVALID, "this machine has cpu"),
        ({"device_map": "disk"}, "device_map", INVALID, "this machine has cpu"),
        ({"device_map": "cpu:1"}, "device_map", INVALID, "this machine has cpu"),
        ({"max_model_len": 0}, "max_model_len", INVALID, "1 or more"),
        ({"max_model_len": -5}, "max_model_len", INVALID, "1 or more"),
        ({"trust_remote_code": True}, "trust_remote_code", FORBIDDEN, "allow_remote_code"),
        ({"revision": "../main"}, "revision", INVALID, "branch"),
        ({"revision": "-x"}, "revision", INVALID, "branch"),
        ({"revision": "a b"}, "revision", INVALID, "branch"),
        ({"revision": "x" * 200}, "revision", INVALID, "branch"),
        ({"revision": "v1"}, "revision", INVALID, "a directory has no revisions"),
        ({"tensor_parallel_size": 1}, "tensor_parallel_size", UNTAKEN, "vllm backend only"),
        ({"gpu_memory_utilization": 0.5}, "gpu_memory_utilization", UNTAKEN, "vllm backend"),
        ({"quantization": "awq"}, "quantization", UNTAKEN, "vllm backend only"),
        ({"engine_options_json": "{"}, "engine_options_json", INVALID, "not valid JSON"),
        ({"engine_options_json": "[" * 10**5}, "engine_options_json", INVALID, "not valid JSON"),
        ({"engine_options_json": "[]"}, "engine_options_json", INVALID, "JSON object"),
        ({"engine_options_json": '{"a": 1}'}, "engine_options_json", UNTAKEN, "'a'"),
        ({"engine_options_json": '{"dtype": "x"}'}, "engine_options_json", INVALID, "torch_dtype"),
        ({"engine_options_json": '{"max_active": 0}'}, "engine_options_json", INVALID, "1 or more"),
        ({"engine_options_json": '{"max_active": true}'}, "engine_options_json", INVALID, "whole"),
        ({"engine_options_json": '{"max_queued": 1.5}'}, "engine_options_json", INVALID, "whole"),
        ({"engine_options_json": '{"max_queued": "1"}'}, "engine_options_json", INVALID, "whole"),
    ],
)
async def test_wrong_options_are_named(empty, tiny_directory, options, field, reason, said):
    error = await refused(load(empty, str(tiny_directory), **options))
    assert (error.field, error.reason) == (f"options.{field}", reason)
    assert said in error.message
    assert not empty.app._pool.models()


async def test_a_backend_that_is_not_installed(empty, tiny_directory, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = await refused(load(empty, tiny_directory, backend="BACKEND_VLLM"))
    assert error.field == "options.backend"
    assert "marsys-models[vllm]" in error.message


@pytest.mark.parametrize(
    ("options", "field", "reason", "said"),
    [
        ({"device_map": "auto"}, "device_map", UNTAKEN, "huggingface backend only"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size", INVALID, "1 to"),
        ({"tensor_parallel_size": 10**6}, "tensor_parallel_size", INVALID, "1 to"),
        ({"gpu_memory_utilization": 0.0}, "gpu_memory_utilization", INVALID, "above 0"),
        ({"gpu_memory_utilization": 1.01}, "gpu_memory_utilization", INVALID, "above 0"),
        ({"gpu_memory_utilization": float("nan")}, "gpu_memory_utilization", INVALID, "above 0"),
        ({"quantization": "int3"}, "quantization", INVALID, "awq, gptq, fp8"),
        *(
            ({"engine_options_json": json.dumps({name: 1})}, "engine_options_json", FORBIDDEN, name)
            for name in ("worker_cls", "io_processor_plugin", "download_dir", "master_port")
        ),
        (
            {"engine_options_json": '{"quantization": "awq"}'},
            "engine_options_json",
            INVALID,
            "options.quantization",
        ),
    ],
)
def test_wrong_options_of_vllm_are_named(with_vllm, options, field, reason, said):
    error = options_error(backend="BACKEND_VLLM", **options)
    assert (error.field, error.reason) == (f"options.{field}", reason)
    assert said in error.message


def test_what_vllm_gets(with_vllm):
    options = LoadOptions(
        backend="BACKEND_VLLM",
        tensor_parallel_size=2,
        gpu_memory_utilization=0.5,
        quantization="fp8",
        max_model_len=100,
        engine_options_json='{"max_num_seqs": 4}',
    )
    assert adapter_arguments(options, LoadRules(max_queued=7)) == {
        "torch_dtype": "auto",
        "trust_remote_code": False,
        "max_model_len": 100,
        "max_queued": 7,
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.5,
        "quantization": "fp8",
        "engine_options": {"max_num_seqs": 4},
    }


@pytest.mark.parametrize("allowed", [{"worker_cls"}, {"*"}])
def test_the_operator_may_allow_engine_options(with_vllm, allowed):
    options = LoadOptions(backend="BACKEND_VLLM", engine_options_json='{"worker_cls": "a.B"}')
    arguments = adapter_arguments(options, LoadRules(allow_engine_options=frozenset(allowed)))
    assert arguments["engine_options"] == {"worker_cls": "a.B"}


async def test_engine_options_reach_the_engine(empty, tiny_directory, ask):
    chosen = {"max_active": 1, "max_queued": 0, "kv_cache_bytes": 10**7}
    name = str(tiny_directory)
    steps = await load(empty, name, engine_options_json=json.dumps(chosen))
    assert json.loads(steps[-1].model.load_options.engine_options_json) == chosen
    with empty.app._pool.use(name) as adapter:
        engine = adapter._engine
        assert (engine._max_active, engine._max_queued) == (1, 0)
        assert engine._budget == 10**7


@pytest.mark.parametrize(
    ("asked", "loaded", "different"),
    [
        ({}, {"torch_dtype": "float32"}, []),
        ({"torch_dtype": "auto"}, {}, []),
        ({"model_class": "MODEL_CLASS_LLM", "backend": "BACKEND_HUGGINGFACE"}, {}, []),
        ({"model_class": "MODEL_CLASS_VLM"}, {}, ["model_class"]),
        ({"backend": "BACKEND_VLLM"}, {}, ["backend"]),
        ({"torch_dtype": "float16"}, {}, ["torch_dtype"]),
        ({"revision": "main"}, {}, []),
        ({"max_model_len": 5}, {"max_model_len": 6}, ["max_model_len"]),
        ({"max_model_len": 5}, {}, ["max_model_len"]),
        ({"engine_options_json": '{"a":1, "b":2}'}, {"engine_options_json": '{"b":2,"a":1}'}, []),
        ({"engine_options_json": '{"a":1}'}, {}, ["engine_options_json"]),
    ],
)
def test_which_options_conflict(asked, loaded, different):
    assert conflicts(LoadOptions(**asked), LoadOptions(**loaded)) == different


@pytest.mark.parametrize(
    "name", ["", " ", "a//b", "a/b/c", "org/../x", "a\nb", "x" * 2000, "org/name?x", "http://a/b"]
)
async def test_names_that_are_none(empty, name):
    error = await refused(load(empty, name))
    assert (error.reason, error.field) == (INVALID, "model")
    assert not empty.app._pool.models()


def settings_error(capsys: Any, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        load_settings(LocalSettings, arguments, "local")
    assert caught.value.code == 2
    return str(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--memory-budget", "lots"), "memory_budget"),
        (("--memory-budget", "0"), "memory_budget"),
        (("--max-models", "-1"), "max_models"),
        (("--idle-unload", "-1"), "idle_unload"),
        (("--backend", "vllm", "--device-map", "cuda"), "device_map is taken by backend hugg"),
        (("--tensor-parallel-size", "2"), "tensor_parallel_size is taken by backend vllm only"),
        (("--quantization", "awq"), "quantization is taken by backend vllm only"),
        (("--gpu-memory-utilization", "1.5"), "gpu_memory_utilization"),
        (("--max-model-len", "0"), "max_model_len"),
        (("--engine-options", "{"), "must be a JSON object"),
        (("--engine-options", "[]"), "engine_options"),
        (("--allow-load", "perhaps"), "allow_load"),
        (("--allow-image-urls", "ftp://x"), "allow_image_urls: 'ftp://x'"),
    ],
)
def test_wrong_settings_are_named_at_the_start(capsys, arguments, said):
    assert said in settings_error(capsys, *arguments)


def test_settings_from_arguments_environment_and_file(monkeypatch, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("max_models = 3\n[engine_options]\nmax_active = 2\n")
    monkeypatch.setenv("MARSYS_LOCAL_MEMORY_BUDGET", "12GiB")
    monkeypatch.setenv("MARSYS_LOCAL_ALLOW_IMAGE_URLS", '["https://example.com/"]')
    settings = load_settings(
        LocalSettings, ["--config", str(file), "--evict-idle", "--idle-unload", "60"], "local"
    )
    assert settings.memory_budget == 12 * 1024**3
    assert settings.engine_options == {"max_active": 2}
    assert (settings.max_models, settings.evict_idle, settings.idle_unload) == (3, True, 60)
    assert settings.allow_image_urls == ["https://example.com/"]
    monkeypatch.setenv("MARSYS_LOCAL_ENGINE_OPTIONS", '{"max_queued": 1}')
    assert load_settings(LocalSettings, [], "local").engine_options == {"max_queued": 1}
    arguments = ["--engine-options", '{"max_active": 4}']
    assert load_settings(LocalSettings, arguments, "local").engine_options == {"max_active": 4}


def test_callers_may_load_where_only_this_machine_reaches_the_address():
    assert LocalSettings(address="127.0.0.1:0").loading_allowed
    assert not LocalSettings(address="0.0.0.0:0", token="x" * 20).loading_allowed
    assert LocalSettings(address="0.0.0.0:0", token="x" * 20, allow_load=True).loading_allowed
    assert not LocalSettings(address="127.0.0.1:0", allow_load=False).loading_allowed


async def test_the_start_models_settings_become_its_options(serve, tiny_directory):
    bench = await serve(
        model=str(tiny_directory),
        torch_dtype="bfloat16",
        device_map="cpu",
        max_model_len=64,
        engine_options={"max_active": 2},
    )
    model = bench.app._pool.describe("tiny")
    assert model.context_length == 64
    assert model.provider == "huggingface"
    assert model.load_options == LoadOptions(
        torch_dtype="bfloat16",
        device_map="cpu",
        max_model_len=64,
        engine_options_json='{"max_active": 2}',
    )
    with bench.app._pool.use("tiny") as adapter:
        assert adapter._engine._max_active == 2
        assert str(adapter.model.dtype) == "torch.bfloat16"
    # What a client sends who says what it wants in full.
    explicit = {"model_class": "MODEL_CLASS_LLM", "backend": "BACKEND_HUGGINGFACE"}
    assert (await load(bench, "tiny", **explicit))[-1].stage == LoadStage.LOAD_STAGE_READY


async def test_a_setting_that_the_start_model_does_not_take_is_named(serve, tiny_directory):
    with pytest.raises(ServiceError, match="device_map: must be auto, cpu"):
        await serve(model=str(tiny_directory), device_map="cuda:99")
    with pytest.raises(ServiceError, match="engine_options_json: the huggingface backend takes"):
        await serve(model=str(tiny_directory), engine_options={"worker_cls": "x"})


@pytest.mark.parametrize("backend", [Backend.BACKEND_HUGGINGFACE, Backend.BACKEND_VLLM])
def test_the_notation_of_calls_may_be_named(with_vllm, backend):
    options = LoadOptions(backend=backend, engine_options_json='{"tool_parser": "llama3"}')
    arguments = adapter_arguments(options, LoadRules())
    assert arguments["tool_parser"] == "llama3"
    assert "tool_parser" not in arguments.get("engine_options", {})
    for wrong in ('"nonsense"', "null", "1"):
        options.engine_options_json = f'{{"tool_parser": {wrong}}}'
        with pytest.raises(ServiceError) as caught:
            adapter_arguments(options, LoadRules())
        assert caught.value.error.field == "options.engine_options_json"
        assert "hermes" in caught.value.error.message


def test_an_adapter_takes_a_notation(tiny_directory):
    adapter = HuggingFaceLLMAdapter(str(tiny_directory), tool_parser="mistral")
    assert adapter.chat.family.name == "mistral"
    adapter.cleanup()
    with pytest.raises(ValueError, match="tool_parser"):
        HuggingFaceLLMAdapter(str(tiny_directory), tool_parser="nonsense")
