"""Models on local_inference_service."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

import grpc

from marsys.agents.exceptions import ModelConfigurationError
from marsys.models._caller import ModelCaller
from marsys.models._errors import from_call, reason_of
from marsys.models._request import KNOWN, build_request
from marsys.models._steps import Clock, Load, LoopDriver, Progress, Sleep, Step, Steps, SyncDriver
from marsys.models.api import set_knobs
from marsys.rpc.channel import place_of
from marsys.rpc.connection import connect
from marsys.rpc.target import LOCAL_DEFAULT, LOCAL_ENV
from marsys.rpc.tls_files import TlsFiles
from marsys.v1 import (
    Backend,
    ErrorReason,
    GenerateRequest,
    LoadModelRequest,
    LoadModelResponse,
    LoadOptions,
    ModelClass,
    ModelError,
)

if TYPE_CHECKING:
    from marsys.models.config import ModelConfig

_LOADABLE = (ErrorReason.ERROR_REASON_MODEL_NOT_LOADED, ErrorReason.ERROR_REASON_INVALID_MODEL)
_CLASSES = {"llm": ModelClass.MODEL_CLASS_LLM, "vlm": ModelClass.MODEL_CLASS_VLM}
_BACKENDS = {"huggingface": Backend.BACKEND_HUGGINGFACE, "vllm": Backend.BACKEND_VLLM}
# Keyword argument -> type; each is a field of LoadOptions.
_OPTIONS: dict[str, type] = {
    "torch_dtype": str,
    "device_map": str,
    "trust_remote_code": bool,
    "revision": str,
    "max_model_len": int,
    "tensor_parallel_size": int,
    "gpu_memory_utilization": float,
    "quantization": str,
}
_LOADING_PAUSE = 1.0  # seconds between two looks at a model that somebody else loads


class BaseLocalModel(ModelCaller):
    """A model that local_inference_service runs. It is loaded at the first call, or by `load`.

    Args:
        model_name: hub name, name under which the service holds the model, or a path on the
            service's machine.
        model_class: "llm" or "vlm".
        backend: "huggingface" or "vllm".
        max_tokens: most tokens to generate; None: the service's default.
        thinking_budget: most tokens of reasoning; None: the service's default.
        target: where local_inference_service is. Default: MARSYS_LOCAL_TARGET, else
            127.0.0.1:50052; where none answers there, the first call starts one that ends with this
            process (it needs marsys-models[local]; MARSYS_EMBEDDED=0 turns that off).
        token: the service's token. Default: MARSYS_TOKEN, else none.
        tls_ca_file, tls_cert_file, tls_key_file: PEM files, for https:// targets: the authority of
            the service's certificate (default: MARSYS_TLS_CA_FILE, else the system's), and the
            certificate that the caller shows, with its key (default: MARSYS_TLS_CERT_FILE and
            MARSYS_TLS_KEY_FILE, else none).
        timeout: how long a call may take in all, loading included, in seconds. Default: without
            end.
        on_load: called with each LoadModelResponse while the model is loaded.
        **kwargs: how to load the model (torch_dtype, device_map, trust_remote_code, revision,
            max_model_len, tensor_parallel_size, gpu_memory_utilization, quantization,
            engine_options), and defaults for the arguments of `run`.

    Raises:
        ModelConfigurationError: an argument is wrong or not known, the target can't be read, or
            the token would travel in plaintext to another machine.
    """

    def __init__(
        self,
        model_name: str = "",
        model_class: str = "llm",
        backend: str = "huggingface",
        max_tokens: int | None = 1024,
        thinking_budget: int | None = None,
        *,
        target: str | None = None,
        token: str | None = None,
        tls_ca_file: str | os.PathLike[str] | None = None,
        tls_cert_file: str | os.PathLike[str] | None = None,
        tls_key_file: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        on_load: Progress | None = None,
        **kwargs: Any,
    ) -> None:
        options = {name: kwargs.pop(name) for name in [*kwargs] if name in _OPTIONS}
        engine_options = kwargs.pop("engine_options", None)
        for name in kwargs:
            if name not in KNOWN:
                raise ModelConfigurationError(
                    f"{name}: is not a parameter of local models", field=name
                )
        files = TlsFiles(tls_ca_file, tls_cert_file, tls_key_file)
        super().__init__(
            model_name,
            connect(target, LOCAL_ENV, LOCAL_DEFAULT, token, files=files, embedded="local"),
            {"max_tokens": max_tokens, "thinking_budget": thinking_budget, **kwargs},
            timeout,
        )
        self.model_class = model_class
        self.backend = backend
        self.max_tokens = max_tokens
        self._options = _load_options(model_class, backend, options, engine_options)
        self._on_load = on_load
        self._served_name = model_name

    @classmethod
    def from_config(cls, config: ModelConfig, **kwargs: Any) -> Self:
        """The model that a configuration describes.

        Only what the configuration sets is sent; the service fills in the rest. What the model
        doesn't take is left out with a warning in the response, as one configuration serves many
        models; `parameters={"on_unsupported": "reject"}` makes it an error.

        Args:
            config: of type "local".
            **kwargs: further constructor arguments, such as `target`; they win.

        Raises:
            ModelConfigurationError: the configuration is of an API model, or as for the class.
        """
        if config.type != "local":
            raise ModelConfigurationError(
                f"config: is of type {config.type!r}; use BaseAPIModel.from_config", field="type"
            )
        arguments: dict[str, Any] = {
            "model_name": config.name,
            "model_class": config.model_class or "llm",
            "backend": config.backend or "huggingface",
            "max_tokens": None,
            "on_unsupported": "warn",
        }
        options = {
            name: getattr(config, name) for name in _OPTIONS if name in config.model_fields_set
        }
        return cls(**arguments | options | set_knobs(config) | config.parameters | kwargs)

    def load(self, *, timeout: float | None = None) -> None:
        """Load the model now and wait until it is ready. Does nothing where it is loaded.

        Args:
            timeout: how long to wait, in seconds; None: the model's own timeout.

        Raises:
            ModelAPIError: it could not be loaded.
        """
        clock = Clock(timeout or self._timeout)
        SyncDriver(self._connection, clock).run(self._loading(clock))

    async def aload(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """The same as `load`, on the running event loop."""
        clock = Clock(timeout or self._timeout)
        await LoopDriver(self._connection, clock).run(self._loading(clock))

    def _request(self, messages: Any, settings: dict[str, Any]) -> GenerateRequest:
        return build_request(self._served_name, messages, settings, options_allowed=False)

    def _loading(self, clock: Clock) -> Steps[None]:
        try:
            yield from self._load()
        except grpc.RpcError as error:
            raise from_call(error, place_of(self._connection), clock.timeout) from None

    def _recover(
        self, error: grpc.RpcError | ModelError, request: GenerateRequest, tried: set[str]
    ) -> Generator[Step, Any, bool]:
        reason = reason_of(error)
        if reason == ErrorReason.ERROR_REASON_MODEL_LOADING:
            yield Sleep(_LOADING_PAUSE)
            return True
        if reason not in _LOADABLE or "load" in tried:
            return False
        tried.add("load")
        try:
            yield from self._load()
        except grpc.RpcError as failure:
            # A service that loads nothing is none of ours; what it said first is what matters.
            if reason_of(failure) == ErrorReason.ERROR_REASON_UNIMPLEMENTED:
                return False
            raise
        request.model = self._served_name
        return True

    def _load(self) -> Generator[Step, Any, None]:
        load = LoadModelRequest(model=self.model_name, options=self._options)
        last: LoadModelResponse | None = yield Load(load, self._on_load)
        if last is not None and last.model.name:
            self._served_name = last.model.name


def _load_options(
    model_class: str, backend: str, options: dict[str, Any], engine_options: Any
) -> LoadOptions:
    if model_class not in _CLASSES:
        raise ModelConfigurationError("model_class: must be llm or vlm", field="model_class")
    if backend not in _BACKENDS:
        raise ModelConfigurationError("backend: must be huggingface or vllm", field="backend")
    loaded = LoadOptions(model_class=_CLASSES[model_class], backend=_BACKENDS[backend])
    for name, value in options.items():
        if value is None:
            continue
        if name == "torch_dtype":
            value = str(value).removeprefix("torch.")  # torch.bfloat16 is as good as "bfloat16"
        try:
            setattr(loaded, name, value)
        except (TypeError, ValueError):
            raise ModelConfigurationError(
                f"{name}: must be {_OPTIONS[name].__name__}, not {type(value).__name__}", field=name
            ) from None
    if engine_options:
        try:
            loaded.engine_options_json = json.dumps(engine_options)
        except (TypeError, ValueError) as error:
            raise ModelConfigurationError(
                f"engine_options: is no JSON: {error}", field="engine_options"
            ) from None
    return loaded
