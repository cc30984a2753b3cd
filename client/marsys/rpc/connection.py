"""Where to call and with which credentials. Secrets go out encrypted or stay on the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from marsys.agents.exceptions import ModelConfigurationError
from marsys.rpc.target import Target, resolve_target
from marsys.rpc.tls_files import TlsFiles

_ALLOW = "MARSYS_ALLOW_PLAINTEXT"
_OFF = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Connection:
    """A target with its credentials. Equal connections share their channels.

    Attributes:
        target: where the service is.
        token: the service's bearer token; None: none.
        ca_file: PEM file of the CA that signed the service's certificate; None: the system's CAs.
        cert_file: PEM file of the certificate chain that the caller shows; None: none.
        key_file: PEM file of its private key.
        embedded: "api" or "local" where nobody named a target: which service is started as a child
            process if none answers at the usual one; else empty.
    """

    target: Target
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    embedded: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def takes_secrets(self) -> bool:
        """Whether a secret may be sent here: encrypted, on this machine, or allowed by the user."""
        return self.target.secure or self.target.loopback or os.environ.get(_ALLOW) == "1"

    def refuse_plaintext(self, name: str) -> None:
        """Refuse to send a secret where others could read it.

        Raises:
            ModelConfigurationError: the connection is plaintext to another machine.
        """
        if not self.takes_secrets:
            raise ModelConfigurationError(
                f"{name} would be sent unencrypted to {self.target}; use https://, or set "
                f"{_ALLOW}=1 where the network itself is encrypted",
                field=name,
            )


def connect(
    target: str | None,
    env_var: str,
    default: str,
    token: str | None = None,
    *,
    files: TlsFiles | None = None,
    embedded: str = "",
) -> Connection:
    """The connection that arguments and environment describe. Opens nothing.

    Args:
        target: where the service is; None: what `env_var` says, else `default`.
        env_var: MARSYS_API_TARGET or MARSYS_LOCAL_TARGET.
        default: the service's usual address.
        token: the service's token; None: MARSYS_TOKEN, else none.
        files: certificates; None: what the environment says.
        embedded: "api" or "local": start that service where no target is given and none answers;
            MARSYS_EMBEDDED=0 keeps it from that.

    Raises:
        ModelConfigurationError: the target can't be read, a file isn't there, a certificate comes
            without its key or with a plaintext target, or the token would travel in plaintext to
            another machine.
    """
    resolved = resolve_target(target, env_var, default)
    token = token or os.environ.get("MARSYS_TOKEN") or None
    if token is not None and not (token.isascii() and token.isprintable()):
        raise ModelConfigurationError("token: must be printable ASCII", field="token")
    named = bool(target or os.environ.get(env_var))
    if named or os.environ.get("MARSYS_EMBEDDED", "").strip().lower() in _OFF:
        embedded = ""
    if embedded:
        from marsys.embedded import announce

        announce()
    ca_file, cert_file, key_file = (files or TlsFiles()).resolve(resolved)
    connection = Connection(resolved, token, ca_file, cert_file, key_file, embedded)
    if token is not None:
        connection.refuse_plaintext("token")
    return connection
