"""Which model is meant by a name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from marsys.agents.exceptions import ModelConfigurationError
from marsys.cli._services import local, models_or_none
from marsys.cli._waiting import Waiting
from marsys.models import BaseAPIModel, BaseLocalModel
from marsys.models.api import KEY_VARIABLES
from marsys.v1 import LoadModelResponse, LoadStage, Model, ModelState

BACKENDS = ("huggingface", "vllm")


class Chooser:
    """Finds models.

    Args:
        use_api: every name is one of api_service.
        use_local: every name is one of local_inference_service.
        target: where the service is; None: where it usually is.
        knobs: how to generate, as for the models' constructors.
        waiting: shows how a model is loaded.
    """

    def __init__(
        self,
        *,
        use_api: bool,
        use_local: bool,
        target: str | None,
        knobs: dict[str, Any],
        waiting: Waiting,
    ) -> None:
        self._use_api = use_api
        self._use_local = use_local
        self._target = target
        self._knobs = knobs
        self._waiting = waiting

    def choose(self, name: str | None) -> BaseAPIModel | BaseLocalModel:
        """The model to talk to.

        A name that local_inference_service knows, or that is a directory here, is a local model,
        and so is one without a slash where that service doesn't run; any other is "provider/model"
        on api_service. Without a name: the first one that is loaded.

        Raises:
            ModelError: there is none.
        """
        if self._use_api:
            if name is None:
                raise ModelConfigurationError(
                    "--api needs a model", suggestion="Give it with -m provider/model."
                )
            return self._remote(name)
        listed = self._listed()
        known = {model.name for model in listed or []}
        if name is None:
            name = _first_ready(listed)
        elif name not in known and Path(name).expanduser().is_dir():
            # The service's working directory is another.
            return self._local(os.path.abspath(Path(name).expanduser()))
        if self._use_local or name in known:
            return self._local(name)
        if "/" not in name and self._target and listed is None:
            raise ModelConfigurationError(
                f"no service answers at {self._target}",
                suggestion="Start it, or give another --target.",
            )
        if "/" not in name and listed is None:
            return self._local(name)  # whose service is started, or its absence told
        if "/" not in name:
            raise ModelConfigurationError(
                f"no local model is named {name!r}",
                suggestion="See `marsys models`; load it with --local, or give provider/model.",
            )
        return self._remote(name)

    def names(self) -> list[str]:
        """Names that may be chosen: local models, and providers with a slash."""
        local_names = [model.name for model in self._listed() or []]
        return local_names + [f"{provider}/" for provider in KEY_VARIABLES]

    def _listed(self) -> list[Model] | None:
        # A target may be api_service after all: its models have a provider, not a backend.
        models = models_or_none(local(self._target))
        if models is None:
            return None
        return [model for model in models if model.provider in BACKENDS]

    def _remote(self, name: str) -> BaseAPIModel:
        return BaseAPIModel(model_name=name, target=self._target, **self._knobs)

    def _local(self, name: str) -> BaseLocalModel:
        def watch(response: LoadModelResponse) -> None:
            self._waiting.loading(name, response)
            if response.stage == LoadStage.LOAD_STAGE_READY:
                self._waiting.spin(name)  # for its first words

        return BaseLocalModel(name, target=self._target, on_load=watch, **self._knobs)


def _first_ready(listed: list[Model] | None) -> str:
    for model in listed or []:
        if model.state == ModelState.MODEL_STATE_READY:
            return model.name
    raise ModelConfigurationError(
        "no model was named, and none is loaded locally",
        suggestion="Give one with -m, or start one: marsys serve local",
    )
