"""ModelService: the models that the providers report."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import closing

from api_service.exchange import Exchanges
from api_service.providers.model_list import known_models, models_request
from api_service.target import Target, Targets
from api_service.transport import MAX_BODY_BYTES, Transport
from marsys.v1 import (
    CallPolicy,
    ErrorReason,
    GetModelRequest,
    GetModelResponse,
    ListModelsRequest,
    ListModelsResponse,
    LoadModelRequest,
    LoadModelResponse,
    Model,
    UnloadModelRequest,
    UnloadModelResponse,
)
from marsys.v1.model_service_pb2_grpc import ModelServiceServicer
from serving.errors import ServiceError, invalid, not_served, service_error
from serving.handlers import Context, stream_rpc, unary_rpc

log = logging.getLogger(__name__)

_PAGE = 100
_LARGEST_PAGE = 1000
_LONGEST_WAIT = 30.0  # seconds that a provider gets to list its models


class RemoteModels(ModelServiceServicer):
    """Lists the models of the providers that the service has keys for.

    Args:
        targets: finds providers.
        transport: times what goes to them.
        exchanges: reaches them.
    """

    def __init__(self, targets: Targets, transport: Transport, exchanges: Exchanges) -> None:
        self._targets = targets
        self._transport = transport
        self._exchanges = exchanges

    @unary_rpc
    async def ListModels(self, request: ListModelsRequest, context: Context) -> ListModelsResponse:
        """Pages are cut by name: the token is the last name of the page before."""
        if not 0 <= request.page_size <= _LARGEST_PAGE:
            raise invalid("page_size", f"must be 0 to {_LARGEST_PAGE}")
        deadline = _deadline(context)
        if request.provider:
            target = self._targets.provider(request.provider, "provider")
            models = await self._list(target, deadline)
        else:
            lists = [self._list_or_nothing(each, deadline) for each in self._targets.listable()]
            models = [model for found in await asyncio.gather(*lists) for model in found]
        models.sort(key=lambda model: model.name)
        if request.page_token:
            models = [model for model in models if model.name > request.page_token]
        size = request.page_size or _PAGE
        page = models[:size]
        more = page[-1].name if len(models) > size else ""
        return ListModelsResponse(models=page, next_page_token=more)

    @unary_rpc
    async def GetModel(self, request: GetModelRequest, context: Context) -> GetModelResponse:
        """Found in its provider's list."""
        provider, slash, rest = request.name.partition("/")
        if not slash or not rest:
            raise invalid("name", 'must be "provider/model"')
        target = self._targets.provider(provider, "name")
        for model in await self._list(target, _deadline(context)):
            if model.name == request.name:
                return GetModelResponse(model=model)
        raise service_error(
            ErrorReason.ERROR_REASON_INVALID_MODEL,
            f"name: {provider} lists no model {rest[:200]!r}",
            field="name",
            provider=provider,
        )

    @stream_rpc
    async def LoadModel(
        self, request: LoadModelRequest, context: Context
    ) -> AsyncIterator[LoadModelResponse]:
        """Remote models are not loaded."""
        raise not_served("LoadModel")
        yield LoadModelResponse()  # never reached: makes this a stream

    @unary_rpc
    async def UnloadModel(
        self, request: UnloadModelRequest, context: Context
    ) -> UnloadModelResponse:
        """Remote models are not unloaded."""
        raise not_served("UnloadModel")

    async def _list_or_nothing(self, target: Target, deadline: float) -> list[Model]:
        try:
            return await self._list(target, deadline)
        except ServiceError as error:
            log.warning("%s can't list its models: %s", target.provider, error)
            return []

    async def _list(self, target: Target, deadline: float) -> list[Model]:
        row = target.upstream.row
        if row.known_models:
            return known_models(row)
        timers = self._transport.timers(CallPolicy(), deadline, stream=False)
        with closing(await self._exchanges.open(target, models_request(row), timers)) as answer:
            body = await answer.response.body(MAX_BODY_BYTES)
            return target.codec.decode_models(answer.upstream, body)


def _deadline(context: Context) -> float:
    left = context.time_remaining()
    return time.monotonic() + (_LONGEST_WAIT if left is None else min(left, _LONGEST_WAIT))
