"""Settings of api_service."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from api_service.oauth.kinds import KINDS
from api_service.oauth.token_url import check_token_url
from serving.base_url import check_allowed_url, check_base_url
from serving.settings import ServerSettings, settings_config


class ProviderSettings(BaseModel):
    """What the operator says of a provider: of a known one, or of one that is added.

    An added provider must speak OpenAI Chat Completions and needs a `base_url`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str | None = Field(default=None, description="Base URL of its API")
    api_key: SecretStr | None = Field(default=None, description="The service's key")
    api_key_env: str | None = Field(
        default=None, description="Environment variable that holds the service's key"
    )
    token_url: str | None = Field(
        default=None, description="Where the tokens of its logins are refreshed"
    )

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        return None if value is None else check_base_url(value)

    @field_validator("token_url")
    @classmethod
    def _check_token_url(cls, value: str | None) -> str | None:
        return None if value is None else check_token_url(value)


class ApiSettings(ServerSettings):
    """Serves remote providers of language models over gRPC."""

    model_config = settings_config("MARSYS_API_")

    allow_base_urls: list[str] = Field(
        default=[],
        description="Base URLs that callers may set: same scheme, host and port, path beneath. "
        "The host may be '*' or begin with '*.'; what only such an entry allows must have a public "
        "address",
    )
    allow_loopback_callers: bool = Field(
        default=True,
        description="Let callers on this machine set any base URL, where the service listens on "
        "loopback or a Unix socket only. Switch it off behind a proxy on this machine: all its "
        "callers look like local ones",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Processes that serve; each takes a share of the connections, and the bounds "
        "of conversations hold for each",
    )
    providers: dict[str, ProviderSettings] = Field(
        default_factory=dict,
        description="Providers by name: base_url, api_key, api_key_env; where a login stands in "
        "for the key: token_url",
    )
    oauth_providers: list[Literal["openai-oauth", "anthropic-oauth"]] = Field(
        default=[],
        description="Providers whose subscription logins may be used; read docs/oauth.md on their "
        "terms first",
    )
    oauth_profiles_file: Path | None = Field(
        default=None,
        description="File that holds the profiles of `marsys oauth` (default: "
        "MARSYS_CREDENTIALS_PATH, else ~/.marsys/credentials.json)",
    )
    credentials_dirs: list[Path] = Field(
        default=[],
        description="Directories in which callers on other machines may name credentials files",
    )
    allow_remote_logins: bool = Field(
        default=False, description="Let callers on other machines manage profiles (OAuthService)"
    )
    retry_base_delay: float = Field(
        default=1.0, ge=0, description="Seconds before the first retry; each further one doubles it"
    )
    connect_timeout: float = Field(
        default=10.0, gt=0, description="Seconds that connecting to a provider may take"
    )
    first_token_timeout: float = Field(
        default=300.0,
        gt=0,
        description="Seconds that a provider may be silent before the first content of a stream; "
        "while it shows life, up to six times as long in all. Callers may set their own",
    )
    answer_timeout: float = Field(
        default=600.0, gt=0, description="The same before a whole (unary) answer"
    )
    idle_timeout: float = Field(
        default=120.0,
        gt=0,
        description="Seconds of silence within an answer; pings count as life. Callers may set "
        "their own",
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of authorities that providers' certificates may be of, besides the "
        "system's",
    )
    proxy_from_environment: bool = Field(
        default=False,
        description="Reach providers through HTTPS_PROXY and HTTP_PROXY, save for NO_PROXY. The "
        "proxy then judges where a caller's base URL leads",
    )

    @field_validator("allow_base_urls")
    @classmethod
    def _check_allowed(cls, values: list[str]) -> list[str]:
        return [check_allowed_url(value) for value in values]

    @field_validator("credentials_dirs")
    @classmethod
    def _expand_directories(cls, values: list[Path]) -> list[Path]:
        return [value.expanduser() for value in values]

    @field_validator("oauth_profiles_file")
    @classmethod
    def _expand_file(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @field_validator("ca_file")
    @classmethod
    def _check_ca_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.create_default_context(cafile=value)
            except (OSError, ssl.SSLError):
                raise ValueError(f"no PEM certificates at {value}") from None
        return value

    @field_validator("providers")
    @classmethod
    def _check_names(cls, values: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name, given in values.items():
            if not name or "/" in name or name != name.lower():
                raise ValueError(f"provider {name!r}: names are lower case, without '/'")
            if name in KINDS and (given.api_key is not None or given.api_key_env is not None):
                raise ValueError(f"provider {name!r}: takes a login, not a key")
            if name not in KINDS and given.token_url is not None:
                raise ValueError(f"provider {name!r}: takes no login, so it has no token_url")
        return values
