"""vLLM's engine dies, can't be started, or is left alone by a process that was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from requests_of import ask, text_of
from subjects import HAS_VLLM, Failed, Subject

from local_inference_service.embedded import ensure_embedded_model
from local_inference_service.progress import LoadError, quiet
from marsys.v1 import ErrorReason, GetModelRequest, ModelState
from marsys.v1.model_service_pb2_grpc import ModelServiceStub

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not HAS_VLLM, reason="vllm isn't installed; `make test-vllm` runs this"),
]

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def engine_process() -> psutil.Process:
    (found,) = (p for p in psutil.Process().children(recursive=True) if "EngineCore" in p.name())
    return found


@pytest.mark.backend("vllm")
@pytest.mark.model_class("llm")
@pytest.mark.way("grpc")
async def test_a_killed_engine_is_reported_and_started_again(subject: Subject) -> None:
    question = ask(subject.name, "What is the capital of France?")
    async with grpc.aio.insecure_channel(subject.service.server.address) as channel:
        health: list[int] = []
        changed = asyncio.Event()

        async def watch() -> None:
            name = f"marsys.v1.InferenceService/{subject.name}"
            request = health_pb2.HealthCheckRequest(service=name)
            async for answer in health_pb2_grpc.HealthStub(channel).Watch(request):
                health.append(answer.status)
                changed.set()

        async def until(status: int) -> None:
            async with asyncio.timeout(240):
                while not health or health[-1] != status:
                    changed.clear()
                    await changed.wait()

        watching = asyncio.create_task(watch())
        await until(_SERVING)
        models: Any = ModelServiceStub(channel)
        running = [
            asyncio.create_task(subject.ask(ask(subject.name, f"Count to {n}.", max_tokens=800)))
            for n in range(90, 98)
        ]
        while subject.adapter.jobs < len(running):
            await asyncio.sleep(0.005)
        engine_process().kill()
        for end in await asyncio.gather(*running, return_exceptions=True):
            check_down(end)
        await until(_NOT_SERVING)
        with pytest.raises(Failed) as failed:
            await subject.ask(question)
        check_down(failed.value)
        model = (await models.GetModel(GetModelRequest(name=subject.name))).model
        assert model.state == ModelState.MODEL_STATE_FAILED
        assert "died" in model.error.message
        await until(_SERVING)
        assert text_of(await subject.ask(question)) == "The capital of France is Paris."
        model = (await models.GetModel(GetModelRequest(name=subject.name))).model
        assert model.state == ModelState.MODEL_STATE_READY
        assert subject.adapter.jobs == 0
        watching.cancel()


def check_down(end: Any) -> None:
    assert isinstance(end, Failed), end
    assert end.code == grpc.StatusCode.UNAVAILABLE
    assert end.error.reason == ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE
    assert end.error.retryable
    assert end.error.retry_after.ToMilliseconds() > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model_class": "llvm"}, "model_class must be llm or vlm"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size must be an integer of 1 or more"),
        ({"tensor_parallel_size": "2"}, "tensor_parallel_size must be an integer"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization must be a number above 0 to 1"),
        ({"gpu_memory_utilization": True}, "gpu_memory_utilization must be a number"),
        ({"quantization": "int3"}, "quantization must be awq, gptq or fp8"),
        ({"max_model_len": 0}, "max_model_len must be an integer of 1 or more"),
        ({"max_active": 0}, "max_active must be"),
        ({"max_queued": -1}, "max_queued must be"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"torch_dtype": "int8"}, "torch_dtype must be auto, float32"),
        ({"engine_options": {"colour": "red"}}, "engine_options: vLLM knows no 'colour'"),
        ({"engine_options": {"dtype": "x"}}, "engine_options: dtype is set by .* torch_dtype"),
        ({"engine_options": {"generation_config": "x"}}, "generation_config can't be set"),
        (
            {"engine_options": {"max_num_seqs": 4}, "max_active": 4},
            "max_num_seqs is set by the argument max_active",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], words: str) -> None:
    from local_inference_service.adapters.factory import LocalAdapterFactory

    directory = str(ensure_embedded_model(quiet))
    options = {"model_class": "llm"} | arguments
    with pytest.raises(ValueError, match=words):
        LocalAdapterFactory.create_adapter("vllm", directory, **options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_model_len": 100_000}, "greater than the derived max_model_len"),
        (
            {"engine_options": {"num_gpu_blocks_override": 1}},
            "vLLM's engine says: ValueError: .*cache",
        ),
    ],
    ids=["before its processes", "in its processes"],
)
def test_a_start_that_fails_says_why(arguments: dict[str, Any], words: str) -> None:
    from local_inference_service.adapters.vllm import VLLMAdapter

    with pytest.raises(LoadError, match=words):
        VLLMAdapter(str(ensure_embedded_model(quiet)), **arguments)


def test_nothing_outlives_a_process_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "holder.py"
    script.write_text(
        textwrap.dedent(f"""
            import time
            from local_inference_service.adapters.vllm import VLLMAdapter

            if __name__ == "__main__":
                adapter = VLLMAdapter({str(ensure_embedded_model(quiet))!r}, max_model_len=256)
                print("ready", flush=True)
                time.sleep(600)
        """)
    )
    holder = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    assert holder.stdout is not None
    try:
        assert "ready" in holder.stdout.readline()
        children = psutil.Process(holder.pid).children(recursive=True)
        assert any("EngineCore" in child.name() for child in children)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    until = time.monotonic() + 60
    while any(_runs(child) for child in children):
        assert time.monotonic() < until, "they are still there"
        time.sleep(0.1)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
