"""Settings of a server: from arguments, environment and file; shown without secrets."""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

S = TypeVar("S", bound="ServerSettings")

# Set beside a service's own variables and meant for others: the client's target, and what
# Kubernetes sets for a Service of the same name.
_FOREIGN = ("TARGET", "CONFIG", "SERVICE_HOST", "SERVICE_PORT", "PORT")


def settings_config(env_prefix: str) -> SettingsConfigDict:
    """Configuration of a settings class whose environment variables begin with `env_prefix`."""
    return SettingsConfigDict(
        env_prefix=env_prefix, env_nested_delimiter="__", extra="forbid", frozen=True
    )


class ServerSettings(BaseSettings):
    """What every server can be told. Sources: arguments, then environment, then file.

    Raises:
        pydantic.ValidationError: a value is wrong, or the address is open to others without a
            token on a plaintext port.
    """

    address: str = Field(
        default="127.0.0.1:50051",
        description="Where to listen: HOST:PORT (port 0: any free one) or unix:PATH",
    )
    token: SecretStr | None = Field(
        default=None,
        description="Callers must send it as 'authorization: Bearer TOKEN' (default: MARSYS_TOKEN)",
    )
    tls_cert_file: Path | None = Field(default=None, description="PEM certificate chain")
    tls_key_file: Path | None = Field(default=None, description="PEM private key")
    tls_client_ca_file: Path | None = Field(
        default=None, description="PEM CA; callers must then show a certificate of it"
    )
    grace: float = Field(
        default=30.0, ge=0, description="Seconds that running calls get at shutdown"
    )
    max_message_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="Largest message, in bytes"
    )
    max_conversations: int = Field(
        default=1000, ge=0, description="Most conversations (Converse) at a time"
    )
    max_conversation_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="Most bytes that a conversation may hold"
    )
    conversation_idle_timeout: float = Field(
        default=1800.0, gt=0, description="Seconds that a conversation may lie idle"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log lines"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Form of log lines")
    address_file: Path | None = Field(
        default=None, description="File that gets the bound address once the server listens"
    )
    transport: Literal["grpc", "http2"] = Field(
        default="grpc",
        description="What carries calls: grpc.aio, or (experimental) a server on a native HTTP/2 "
        "library that takes about half of the CPU time; it needs marsys-models[http2]",
    )
    reuse_port: bool = Field(
        default=False,
        description="Share the port with other processes that are told so too: the kernel hands "
        "each connection to one of them",
    )
    end_with_stdin: bool = Field(
        default=False,
        description="Stop when standard input ends: for a parent that holds a pipe to it, so that "
        "the service ends with the parent, however that ends",
    )

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        if value.startswith("unix:"):
            if not value.removeprefix("unix:"):
                raise ValueError("unix: needs a path")
            return value
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError("must be HOST:PORT or unix:PATH")
        return value

    @model_validator(mode="before")
    @classmethod
    def _take_shared_token(cls, data: Any) -> Any:
        shared = os.environ.get("MARSYS_TOKEN")
        if isinstance(data, dict) and data.get("token") is None and shared:
            return {**data, "token": shared}
        return data

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: no file at {path}")
        if self.token is not None and not self.token.get_secret_value().strip():
            raise ValueError("token is empty")
        if not self.loopback and self.tls_cert_file is None and self.token is None:
            raise ValueError(
                f"address {self.address} is open to other machines in plaintext: "
                "set a token, or TLS files, or listen on 127.0.0.1"
            )
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.address.startswith("unix:"):
            return True
        host = self.address.rpartition(":")[0].strip("[]")
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def shown(self) -> str:
        """The settings in one line, without secrets, defaults left out."""
        values = [f"{name}={getattr(self, name)!s}" for name in sorted(self.model_fields_set)]
        return " ".join(values) or "defaults"


def secrets_of(value: object) -> list[str]:
    """Every secret in settings, however deep."""
    if isinstance(value, SecretStr):
        return [value.get_secret_value()]
    if isinstance(value, BaseModel):
        return secrets_of({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, dict):
        return [secret for item in value.values() for secret in secrets_of(item)]
    if isinstance(value, list | tuple):
        return [secret for item in value for secret in secrets_of(item)]
    return []


def load_settings(cls: type[S], argv: Sequence[str], prog: str) -> S:
    """Settings from arguments, environment and file; exits with status 2 where they are wrong.

    Args:
        cls: the settings class.
        argv: the arguments, without the program's name.
        prog: the program's name, for the usage text.
    """
    prefix = str(cls.model_config.get("env_prefix", ""))
    given = vars(_parser(cls, prog, prefix).parse_args(argv))
    path = given.pop("config", None) or os.environ.get(f"{prefix}CONFIG")
    arguments = {name: value for name, value in given.items() if value is not None}
    try:
        from_file = _read_file(Path(path)) if path else {}
        return cls(**{**_beneath_environment(prefix, from_file), **arguments})
    except ValidationError as error:
        lines = [_problem(prefix, dict(problem)) for problem in error.errors()]
    except (SettingsError, OSError, tomllib.TOMLDecodeError) as error:
        lines = [f"{path}: {error}" if path else str(error)]
    for line in lines:
        print(f"{prog}: {line}", file=sys.stderr)
    raise SystemExit(2)


def unknown_variables(settings: ServerSettings) -> list[str]:
    """Environment variables with the settings' prefix that name no setting: probably typos."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    known = {name.upper() for name in type(settings).model_fields}
    found = []
    for variable in sorted(os.environ):
        name = variable.removeprefix(prefix).split("__")[0]
        if variable.startswith(prefix) and name not in known and not name.startswith(_FOREIGN):
            found.append(variable)
    return found


def _read_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


def _beneath_environment(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """The file's values that the environment doesn't set (init arguments would win over it)."""
    set_there = {variable.split("__")[0].upper() for variable in os.environ}
    return {
        name: value for name, value in values.items() if f"{prefix}{name}".upper() not in set_there
    }


def _parser(cls: type[ServerSettings], prog: str, prefix: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=(cls.__doc__ or "").split("\n")[0],
        epilog=f"Every setting can also be given as {prefix}NAME in the environment, or in a TOML "
        "file. Secrets are taken from there only, since arguments can be seen by others.",
    )
    parser.add_argument("--config", metavar="FILE", help=f"TOML file (default: {prefix}CONFIG)")
    for name, field in cls.model_fields.items():
        if not _is_secret_or_table(field):
            flag = "--" + name.replace("_", "-")
            parser.add_argument(flag, dest=name, default=None, **_argument(field))
    return parser


def _argument(field: FieldInfo) -> dict[str, Any]:
    described = (field.description or "").replace("%", "%%")
    default = field.get_default(call_default_factory=True, validated_data={})
    shown = f" (default: {default})" if default not in (None, [], "") else ""
    common: dict[str, Any] = {"help": described + shown}
    if field.annotation is bool:
        return common | {"action": argparse.BooleanOptionalAction}
    if get_origin(field.annotation) in (list, tuple):
        return common | {"action": "append", "metavar": "VALUE"}
    if get_origin(field.annotation) is Literal:
        return common | {"choices": get_args(field.annotation)}
    return common | {"metavar": "VALUE"}


def _is_secret_or_table(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return any(kind is SecretStr or get_origin(kind) is dict for kind in kinds)


def _problem(prefix: str, problem: dict[str, Any]) -> str:
    path = ".".join(str(step) for step in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    variable = f" ({prefix}{str(problem['loc'][0]).upper()})" if problem["loc"] else ""
    return f"{path}{variable}: {text}" if path else text
