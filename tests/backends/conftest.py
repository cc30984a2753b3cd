"""Each backend with a text model and a vision-language model, in process and through gRPC.

A test that is marked model_class("taught") gets a tiny model that knows the answers of `lessons`.

A model is loaded once a run, by a real local_inference_service; tests in process use the service's
own adapter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from lessons import make_taught_model
from subjects import BACKENDS, CLASSES, WAYS, Service, Subject
from tiny_models import make_tiny_vlm

from local_inference_service.embedded import ensure_embedded_model
from local_inference_service.progress import quiet


def _directory(model_class: str, tmp: Path) -> Path:
    if model_class == "llm":
        return ensure_embedded_model(quiet)
    if model_class == "taught":
        taught = tmp / "taught"
        return taught if taught.exists() else make_taught_model(taught)
    directory = tmp / "tiny-vlm"
    if not directory.exists():
        make_tiny_vlm(directory)
    return directory


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Called with a backend and a class: their service, started where it doesn't run."""
    tmp = tmp_path_factory.mktemp("models")
    running: dict[tuple[str, str], Service] = {}

    def service(backend: str, model_class: str) -> Service:
        if (backend, model_class) in running:
            return running[backend, model_class]
        for other in [key for key in running if key[0] == backend == "vllm"]:
            running.pop(other).stop()  # two engines take much memory
        limits: dict[str, Any] = {"max_model_len": 1024} if model_class == "llm" else {}
        running[backend, model_class] = Service(
            model=str(_directory(model_class, tmp)),
            model_class="vlm" if model_class == "vlm" else "llm",
            backend=backend,
            torch_dtype="float32",
            max_active=8,
            max_queued=24,
            **limits,
        )
        return running[backend, model_class]

    yield service
    for one in running.values():
        one.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`subject` is every backend, class and way; a test's marks narrow them."""
    if "subject" not in metafunc.fixturenames:
        return

    def narrowed(mark: str, values: tuple[str, ...]) -> tuple[str, ...]:
        found = metafunc.definition.get_closest_marker(mark)
        return values if found is None else found.args

    values = [
        pytest.param(
            (backend, model_class, way),
            id=f"{backend}-{model_class}-{way.replace(' ', '-')}",
            marks=[pytest.mark.vllm] if backend == "vllm" else [],
        )
        for backend in narrowed("backend", BACKENDS)
        if backend in BACKENDS
        for model_class in narrowed("model_class", CLASSES)
        for way in narrowed("way", WAYS)
    ]
    # By session scope, pytest runs what shares an engine in a row.
    metafunc.parametrize("subject", values, indirect=True, scope="session")


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest, services: Any) -> Subject:
    backend, model_class, way = request.param
    return Subject(services(backend, model_class), way)


@pytest.fixture(autouse=True)
async def _channels_closed(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    yield
    if "subject" in request.fixturenames:
        await request.getfixturevalue("subject").close()
