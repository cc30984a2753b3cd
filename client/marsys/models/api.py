"""Models of remote providers, behind api_service."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

import grpc

from marsys.agents.exceptions import ModelConfigurationError
from marsys.models._caller import ModelCaller
from marsys.models._request import build_request
from marsys.models._steps import Step
from marsys.rpc.connection import connect
from marsys.rpc.target import API_DEFAULT, API_ENV
from marsys.rpc.tls_files import TlsFiles
from marsys.v1 import GenerateRequest, ModelError, ProviderTarget

if TYPE_CHECKING:
    from marsys.models.config import ModelConfig

# Where each provider's users keep their key; the first that is set counts.
KEY_VARIABLES = {
    "openrouter": ("OPENROUTER_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "xai": ("XAI_API_KEY",),
}
_CONFIG_KNOBS = (
    "max_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "thinking_budget",
    "reasoning_effort",
)


class _Default(int):
    """A default, told apart from the same number given by a caller."""


_MAX_TOKENS = _Default(1024)
# Takes no limit of the answer; what a caller sets all the same, the service refuses or warns about.
_UNLIMITED = "openai-oauth"


class BaseAPIModel(ModelCaller):
    """A model of a remote provider.

    Args:
        provider: "openrouter", "openai", "anthropic", "google", "xai", "openai-oauth",
            "anthropic-oauth", or one that the service's operator added. Default: the first segment
            of `model_name`; with `base_url`, a generic OpenAI-compatible endpoint.
        model_name: the provider's name of the model.
        api_key: key for the provider. Default: the provider's environment variable at the time of
            the call, where the connection may carry secrets; else the service's own key.
        base_url: base URL of the provider's API. Default: the provider's own.
        max_tokens: most tokens to generate; None: the service's default. The default of 1024 isn't
            sent to "openai-oauth", which takes no limit.
        oauth_profile: profile of the login to use, for the "-oauth" providers. Default: the
            provider's default profile, else where its CLI keeps its login.
        credentials_path: file of the login to use, on the service's machine; wins over
            `oauth_profile`.
        target: where api_service is. Default: MARSYS_API_TARGET, else 127.0.0.1:50051; where none
            answers there, the first call starts one that ends with this process (it needs
            marsys-models[api]; MARSYS_EMBEDDED=0 turns that off).
        token: the service's token. Default: MARSYS_TOKEN, else none.
        tls_ca_file, tls_cert_file, tls_key_file: PEM files, for https:// targets: the authority of
            the service's certificate (default: MARSYS_TLS_CA_FILE, else the system's), and the
            certificate that the caller shows, with its key (default: MARSYS_TLS_CERT_FILE and
            MARSYS_TLS_KEY_FILE, else none).
        timeout: how long a call may take in all, in seconds. Default: without end.
        max_retries: most retries of a failed attempt, 0 to 9. Default: 3.
        **kwargs: defaults for the arguments of `run`; unknown ones go to the provider as fields of
            its own request.

    Raises:
        ModelConfigurationError: no model is named, the target can't be read, a file isn't there,
            or a secret would travel in plaintext to another machine.
    """

    def __init__(
        self,
        provider: str | None = None,
        model_name: str = "",
        api_key: str | None = None,
        base_url: str | None = None,
        max_tokens: int | None = _MAX_TOKENS,
        *,
        oauth_profile: str | None = None,
        credentials_path: str | os.PathLike[str] | None = None,
        target: str | None = None,
        token: str | None = None,
        tls_ca_file: str | os.PathLike[str] | None = None,
        tls_cert_file: str | os.PathLike[str] | None = None,
        tls_key_file: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        **kwargs: Any,
    ) -> None:
        files = TlsFiles(tls_ca_file, tls_cert_file, tls_key_file)
        connection = connect(target, API_ENV, API_DEFAULT, token, files=files, embedded="api")
        if isinstance(max_tokens, _Default):
            named = provider or model_name.partition("/")[0]
            max_tokens = None if named == _UNLIMITED else int(max_tokens)
        super().__init__(model_name, connection, {"max_tokens": max_tokens, **kwargs}, timeout)
        if api_key:
            connection.refuse_plaintext("api_key")
        if max_retries is not None and not 0 <= max_retries <= 9:
            raise ModelConfigurationError("max_retries: must be 0 to 9", field="max_retries")
        self.provider = provider
        self.base_url = base_url
        self.max_tokens = max_tokens
        self._api_key = api_key
        self._oauth_profile = oauth_profile
        self._credentials_path = os.fspath(credentials_path) if credentials_path else None
        self._max_retries = max_retries

    @classmethod
    def from_config(cls, config: ModelConfig, **kwargs: Any) -> Self:
        """The model that a configuration describes.

        Only what the configuration sets is sent; the service fills in the rest. What the model
        doesn't take is left out with a warning in the response, as one configuration serves many
        models; `parameters={"on_unsupported": "reject"}` makes it an error.

        Args:
            config: of type "api".
            **kwargs: further constructor arguments, such as `target`; they win.

        Raises:
            ModelConfigurationError: the configuration is of a local model, or as for the class.
        """
        if config.type != "api":
            raise ModelConfigurationError(
                f"config: is of type {config.type!r}; use BaseLocalModel.from_config", field="type"
            )
        arguments: dict[str, Any] = {
            "provider": config.provider,
            "model_name": config.name,
            "api_key": config.api_key,
            "base_url": config.base_url,
            "oauth_profile": config.oauth_profile,
            "credentials_path": config.credentials_path,
            "max_tokens": None,
            "on_unsupported": "warn",
        }
        return cls(**arguments | set_knobs(config) | config.parameters | kwargs)

    def _request(self, messages: Any, settings: dict[str, Any]) -> GenerateRequest:
        request = build_request(self.model_name, messages, settings, options_allowed=True)
        target = ProviderTarget(
            provider=self.provider or "",
            base_url=self.base_url or "",
            api_key=self._key() or "",
            oauth_profile=self._oauth_profile or "",
            credentials_path=self._credentials_path or "",
        )
        if target.ListFields():
            request.target.CopyFrom(target)
        if self._max_retries is not None:
            request.policy.max_attempts = self._max_retries + 1
        return request

    def _recover(
        self, error: grpc.RpcError | ModelError, request: GenerateRequest, tried: set[str]
    ) -> Generator[Step, Any, bool]:
        return False  # what can be retried, the service has retried
        yield

    def _key(self) -> str | None:
        if self._api_key:
            return self._api_key
        provider = self.provider
        if provider is None and not self.base_url:
            provider = self.model_name.partition("/")[0]
        if not self._connection.takes_secrets:
            return None
        for variable in KEY_VARIABLES.get(provider or "", ()):
            if os.environ.get(variable):
                return os.environ[variable]
        return None


def set_knobs(config: ModelConfig) -> dict[str, Any]:
    """The generation parameters that a configuration sets."""
    return {
        name: getattr(config, name) for name in _CONFIG_KNOBS if name in config.model_fields_set
    }
