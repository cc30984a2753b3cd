"""Where a service is: the text that a user gives -> what gRPC dials."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

from marsys.agents.exceptions import ModelConfigurationError

API_ENV, API_DEFAULT = "MARSYS_API_TARGET", "127.0.0.1:50051"
LOCAL_ENV, LOCAL_DEFAULT = "MARSYS_LOCAL_TARGET", "127.0.0.1:50052"

_SCHEMES = {"https": True, "grpcs": True, "http": False, "grpc": False}


@dataclass(frozen=True, slots=True)
class Target:
    """A service's address.

    Attributes:
        address: as gRPC takes it.
        secure: whether the connection is encrypted (TLS).
        loopback: whether it stays on this machine.
        log: what the service writes, where it was started by this process tree; else empty.
    """

    address: str
    secure: bool
    loopback: bool
    log: str = ""

    def __str__(self) -> str:
        return f"https://{self.address}" if self.secure else self.address


def resolve_target(argument: str | None, env_var: str, default: str) -> Target:
    """The target to use: the argument, else the environment variable, else the default.

    Raises:
        ModelConfigurationError: it can't be read.
    """
    if argument:
        return parse_target(argument, "target")
    from_env = os.environ.get(env_var)
    return parse_target(from_env, env_var) if from_env else parse_target(default, "target")


def parse_target(text: str, source: str = "target") -> Target:
    """Read a target.

    Args:
        text: "host:port" (plaintext), "https://host[:port]" or "grpcs://host[:port]" (TLS,
            default port 443), "http://host:port", "dns:///host:port" (every address of the name
            is used in turn), or "unix:PATH".
        source: what to call it in the error.

    Raises:
        ModelConfigurationError: it can't be read.
    """
    text = text.strip()
    if text.startswith("unix:") and len(text) > len("unix:"):
        return Target(text, secure=False, loopback=True)
    if text.startswith("dns:"):
        _check_host_port(text.removeprefix("dns:").rpartition("/")[2], text, source)
        return Target(text, secure=False, loopback=False)
    scheme, separator, rest = text.partition("://")
    if not separator:
        host = _check_host_port(text, text, source)
        return Target(text, secure=False, loopback=_is_loopback(host))
    if scheme.lower() not in _SCHEMES:
        raise _wrong(text, source)
    secure = _SCHEMES[scheme.lower()]
    address = rest.rstrip("/")
    if secure and (address.endswith("]") or ":" not in address):
        address += ":443"
    host = _check_host_port(address, text, source)
    return Target(address, secure=secure, loopback=_is_loopback(host))


def _check_host_port(address: str, text: str, source: str) -> str:
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdecimal() or not 0 < int(port) < 65536:
        raise _wrong(text, source)
    if any(character in host for character in "/@ ?#") or (":" in host and host == bare):
        raise _wrong(text, source)
    return bare


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _wrong(text: str, source: str) -> ModelConfigurationError:
    # What stands before an @ may be a password: it is not repeated.
    shown = text if "@" not in text else "..." + text[text.rindex("@") :]
    return ModelConfigurationError(
        f"{source}: {shown!r} is no target; give HOST:PORT, https://HOST:PORT, "
        "dns:///HOST:PORT or unix:PATH",
        field=source,
    )
