"""Runs the gateway that TensorZero's Python package holds:
`tensorzero_gateway.py CONFIG ADDRESS_FILE`.

Runs in TensorZero's environment. The Python side only waits.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tensorzero.tensorzero import _start_http_gateway

if __name__ == "__main__":
    config, address_file = sys.argv[1:]
    gateway = _start_http_gateway(
        config_file=config,
        clickhouse_url=None,
        postgres_url=None,
        valkey_url=None,
        async_setup=False,
    )
    Path(address_file).write_text(urlsplit(gateway.base_url).netloc)
    signal.pause()
