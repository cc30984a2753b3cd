"""Certificates and keys of an encrypted connection: which files hold them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from marsys.agents.exceptions import ModelConfigurationError
from marsys.rpc.target import Target

_VARIABLES = {
    "tls_ca_file": "MARSYS_TLS_CA_FILE",
    "tls_cert_file": "MARSYS_TLS_CERT_FILE",
    "tls_key_file": "MARSYS_TLS_KEY_FILE",
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, as a caller gives them. None: what the environment says, else none.

    Attributes:
        tls_ca_file: the CA that signed the service's certificate (MARSYS_TLS_CA_FILE).
        tls_cert_file: the certificate chain that the caller shows (MARSYS_TLS_CERT_FILE).
        tls_key_file: its private key (MARSYS_TLS_KEY_FILE).
    """

    tls_ca_file: str | os.PathLike[str] | None = None
    tls_cert_file: str | os.PathLike[str] | None = None
    tls_key_file: str | os.PathLike[str] | None = None

    def resolve(self, target: Target) -> tuple[str | None, str | None, str | None]:
        """Paths of CA, certificate and key for a target; all None where it is plaintext.

        Raises:
            ModelConfigurationError: a file isn't there, one of certificate and key is missing, or
                an argument names a file and the target is plaintext.
        """
        paths: list[str | None] = []
        for name, variable in _VARIABLES.items():
            given = getattr(self, name)
            if given and not target.secure:
                raise ModelConfigurationError(
                    f"{name}: {target} is not encrypted; use https://", field=name
                )
            path = os.fspath(given) if given else os.environ.get(variable) or None
            source = name if given else variable
            if path is not None and target.secure:
                path = str(Path(path).expanduser())
                if not Path(path).is_file():
                    raise ModelConfigurationError(f"{source}: no file at {path}", field=source)
            paths.append(path if target.secure else None)
        ca_file, cert_file, key_file = paths
        if (cert_file is None) != (key_file is None):
            missing = "tls_key_file" if key_file is None else "tls_cert_file"
            raise ModelConfigurationError(
                f"{missing} ({_VARIABLES[missing]}): must be set, too: certificate and key go "
                "together",
                field=missing,
            )
        return ca_file, cert_file, key_file
