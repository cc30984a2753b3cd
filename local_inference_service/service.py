"""The gRPC services over the pool."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from local_inference_service.load_options import LoadRules
from local_inference_service.load_plans import LoadPlans
from local_inference_service.model_source import check_allowed, find_source, served_name
from local_inference_service.pool import ModelPool
from local_inference_service.pool_errors import loading_not_allowed
from local_inference_service.room import Limits
from local_inference_service.settings import LocalSettings
from marsys.v1 import (
    Backend,
    CountPrecision,
    CountTokensResponse,
    GenerateRequest,
    GetModelRequest,
    GetModelResponse,
    ListModelsRequest,
    ListModelsResponse,
    LoadModelRequest,
    LoadModelResponse,
    LoadOptions,
    ModelClass,
    StreamEvent,
    UnloadModelRequest,
    UnloadModelResponse,
)
from marsys.v1.model_service_pb2_grpc import ModelServiceServicer
from serving.app import ModelHealthReport
from serving.errors import ServiceError, invalid
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

    def __init__(self, pool: ModelPool, plans: LoadPlans, settings: LocalSettings) -> None:
        self._pool = pool
        self._plans = plans
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
        source = find_source(request.model, request.options.revision)
        plan = self._plans.make(
            request.model,
            source,
            request.options,
            allowed=self._settings.loading_allowed,
        )
        check_allowed(source, self._settings.allow_model_paths, request.model)
        steps: Any = self._pool.load(plan)
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
        if not self._settings.loading_allowed:
            raise loading_not_allowed(request.model)
        await self._pool.unload(request.model, timeout)
        return UnloadModelResponse()


class LocalApp:
    """local_inference_service as serving runs it."""

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        limits = Limits(
            memory_budget=settings.memory_budget,
            max_models=settings.max_models,
            evict_idle=settings.evict_idle,
            idle_unload=settings.idle_unload,
        )
        rules = LoadRules(
            allow_remote_code=settings.allow_remote_code,
            allow_engine_options=frozenset(settings.allow_engine_options),
            max_active=settings.max_active,
            max_queued=settings.max_queued,
        )
        self._pool = ModelPool(limits)
        self._plans = LoadPlans(rules, limits, settings.media_rules)
        self.generator = LocalGenerator(self._pool)
        self.model_service = LocalModelService(self._pool, self._plans, settings)
        self.oauth_service = None

    def report_health(self, report: ModelHealthReport) -> None:
        """Tell of each model whether it answers, from now on."""
        self._pool.report_health(report)

    async def start(self) -> None:
        """Load the model of the settings.

        Raises:
            ServiceError: it can't be loaded.
        """
        name = self._settings.model
        if name == NO_MODEL:
            return
        options = start_options(self._settings)
        source = find_source(name, options.revision)
        try:
            plan = self._start_plans().make(
                served_name(name), source, options, pinned=self._settings.pin_model
            )
        except ServiceError as error:  # it names an option; for the operator that is a setting
            error.error.message = error.error.message.removeprefix("options.")
            raise ServiceError(error.error) from None
        async for _ in self._pool.load(plan):
            pass

    async def stop(self) -> None:
        await self._pool.close()

    def _start_plans(self) -> LoadPlans:
        """What the operator's own model may do: any engine option."""
        rules = LoadRules(
            allow_remote_code=self._settings.allow_remote_code,
            allow_engine_options=frozenset({"*"}),
            max_active=self._settings.max_active,
            max_queued=self._settings.max_queued,
        )
        return LoadPlans(rules, self._plans.limits, self._plans.media_rules)


def start_options(settings: LocalSettings) -> LoadOptions:
    """How the model of the settings is loaded: what is set there, and nothing else."""
    options = LoadOptions(
        quantization=settings.quantization,
        revision=settings.revision,
        trust_remote_code=settings.allow_remote_code,
        max_model_len=settings.max_model_len,
        tensor_parallel_size=settings.tensor_parallel_size,
        gpu_memory_utilization=settings.gpu_memory_utilization,
    )
    if settings.model_class == "vlm":
        options.model_class = ModelClass.MODEL_CLASS_VLM
    if settings.backend == "vllm":
        options.backend = Backend.BACKEND_VLLM
    if settings.torch_dtype != "auto":
        options.torch_dtype = settings.torch_dtype
    if settings.device_map != "auto":
        options.device_map = settings.device_map
    if settings.engine_options:
        options.engine_options_json = json.dumps(dict(settings.engine_options))
    return options
