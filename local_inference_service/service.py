"""The gRPC services over the pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from local_inference_service.adapters.base import LocalProviderAdapter
from local_inference_service.adapters.factory import LocalAdapterFactory
from local_inference_service.embedded import EMBEDDED_MODEL, ensure_embedded_model
from local_inference_service.load_options import LoadRules, adapter_arguments
from local_inference_service.pool import ModelPool, Opener
from local_inference_service.progress import Progress
from local_inference_service.settings import LocalSettings
from marsys.v1 import (
    CountPrecision,
    CountTokensResponse,
    ErrorReason,
    GenerateRequest,
    GetModelRequest,
    GetModelResponse,
    ListModelsRequest,
    ListModelsResponse,
    LoadModelRequest,
    LoadModelResponse,
    LoadOptions,
    StreamEvent,
    UnloadModelRequest,
    UnloadModelResponse,
)
from marsys.v1.model_service_pb2_grpc import ModelServiceServicer
from serving.errors import invalid, service_error
from serving.generator import Call
from serving.handlers import Context, stream_rpc, unary_rpc
from serving.model_pages import page_of

NO_MODEL = "none"


class LocalGenerator:
    """Answers InferenceService from the pool's models."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    async def generate(
        self, request: GenerateRequest, call: Call
    ) -> AsyncIterator[Sequence[StreamEvent]]:
        with self._pool.use(request.model) as adapter:
            batches: Any = adapter.generate(request, request.model)
            async with aclosing(batches):
                async for events in batches:
                    yield events

    async def count_tokens(self, request: GenerateRequest, call: Call) -> CountTokensResponse:
        with self._pool.use(request.model) as adapter:
            return CountTokensResponse(
                input_tokens=await adapter.count_tokens(request, request.model),
                precision=CountPrecision.COUNT_PRECISION_EXACT,
                context_length=adapter.context_length,
            )


class LocalModelService(ModelServiceServicer):
    """Serves ModelService from the pool."""

    def __init__(self, pool: ModelPool, settings: LocalSettings) -> None:
        self._pool = pool
        self._settings = settings

    @unary_rpc
    async def ListModels(self, request: ListModelsRequest, context: Context) -> ListModelsResponse:
        models = self._pool.models()
        wanted = [m for m in models if request.provider in ("", m.provider)]
        return page_of(wanted, request)

    @unary_rpc
    async def GetModel(self, request: GetModelRequest, context: Context) -> GetModelResponse:
        return GetModelResponse(model=self._pool.describe(request.name))

    @stream_rpc
    async def LoadModel(
        self, request: LoadModelRequest, context: Context
    ) -> AsyncIterator[LoadModelResponse]:
        if not request.model.strip():
            raise invalid("model", "must name a model")
        rules = LoadRules(allow_remote_code=self._settings.allow_remote_code)
        arguments = adapter_arguments(request.options, rules)
        source = self._allowed_source(request.model)
        opener = make_opener(source, arguments, self._settings)
        steps: Any = self._pool.load(request.model, request.options, opener)
        async with aclosing(steps):
            async for step in steps:
                yield step

    @unary_rpc
    async def UnloadModel(
        self, request: UnloadModelRequest, context: Context
    ) -> UnloadModelResponse:
        timeout = None
        if request.HasField("drain_timeout"):
            timeout = request.drain_timeout.ToMilliseconds() / 1000
            if timeout < 0:
                raise invalid("drain_timeout", "must be 0 or more")
        await self._pool.unload(request.model, timeout)
        return UnloadModelResponse()

    def _allowed_source(self, model: str) -> str:
        """Hub names may always be loaded, paths only below what the operator allows."""
        path = Path(model).expanduser()
        if not path.exists() and not model.startswith(("/", ".", "~")):
            return model
        resolved = path.resolve()
        for allowed in self._settings.allow_model_paths:
            if resolved.is_relative_to(allowed.expanduser().resolve()):
                return str(resolved)
        raise service_error(
            ErrorReason.ERROR_REASON_NOT_ALLOWED,
            "model: the operator has not allowed models to be loaded from this path",
            field="model",
            model=model,
        )


class LocalApp:
    """local_inference_service as serving runs it."""

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._pool = ModelPool()
        self.generator = LocalGenerator(self._pool)
        self.model_service = LocalModelService(self._pool, settings)
        self.oauth_service = None

    async def start(self) -> None:
        """Load the model of the settings.

        Raises:
            ServiceError: it can't be loaded.
        """
        source = self._settings.model
        if source == NO_MODEL:
            return
        options = LoadOptions()
        if self._settings.torch_dtype != "auto":
            options.torch_dtype = self._settings.torch_dtype
        if self._settings.device_map != "auto":
            options.device_map = self._settings.device_map
        if self._settings.allow_remote_code:
            options.trust_remote_code = True
        rules = LoadRules(allow_remote_code=self._settings.allow_remote_code)
        opener = make_opener(source, adapter_arguments(options, rules), self._settings)
        async for _ in self._pool.load(served_name(source), options, opener):
            pass

    async def stop(self) -> None:
        await self._pool.close()


def served_name(source: str) -> str:
    """The name under which the operator's model is served: a directory's last part."""
    path = Path(source).expanduser()
    return path.resolve().name if path.is_dir() else source


def make_opener(source: str, arguments: dict[str, Any], settings: LocalSettings) -> Opener:
    """What loads a model, in a thread."""

    def open_model(progress: Progress) -> LocalProviderAdapter:
        name = str(ensure_embedded_model(progress)) if source == EMBEDDED_MODEL else source
        return LocalAdapterFactory.create_adapter(
            "huggingface",
            name,
            **arguments,
            max_active=settings.max_active,
            max_queued=settings.max_queued,
            progress=progress,
        )

    return open_model
