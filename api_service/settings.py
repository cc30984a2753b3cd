"""Settings of api_service."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from api_service.base_url import check_base_url
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

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        return None if value is None else check_base_url(value)


class ApiSettings(ServerSettings):
    """Serves remote providers of language models over gRPC."""

    model_config = settings_config("MARSYS_API_")

    allow_base_urls: list[str] = Field(
        default=[],
        description="Base URLs that callers may set: same scheme, host and port, path beneath",
    )
    allow_loopback_callers: bool = Field(
        default=True,
        description="Let callers on this machine set any base URL, where the service listens on "
        "loopback or a Unix socket only. Switch it off behind a proxy on this machine: all its "
        "callers look like local ones",
    )
    providers: dict[str, ProviderSettings] = Field(
        default_factory=dict, description="Providers by name: base_url, api_key, api_key_env"
    )
    retry_base_delay: float = Field(
        default=1.0, ge=0, description="Seconds before the first retry; each further one doubles it"
    )
    connect_timeout: float = Field(
        default=10.0, gt=0, description="Seconds that connecting to a provider may take"
    )

    @field_validator("allow_base_urls")
    @classmethod
    def _check_allowed(cls, values: list[str]) -> list[str]:
        return [check_base_url(value) for value in values]

    @field_validator("providers")
    @classmethod
    def _check_names(cls, values: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name in values:
            if not name or "/" in name or name != name.lower():
                raise ValueError(f"provider {name!r}: names are lower case, without '/'")
        return values
