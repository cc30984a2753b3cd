"""Start both services, ask the embedded model a question through the client, keep serving.

This is what `make run` does. With --once it stops after the answer.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from marsys.models import BaseLocalModel

MODEL = "smollm2-135m-instruct"
QUESTION = "What is the capital of France?"
START_TIMEOUT = 900  # seconds; the first start fetches and converts the model


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--api-address", required=True)
    parser.add_argument("--local-address", required=True)
    parser.add_argument("--once", action="store_true", help="stop after the answer")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="marsys-run-") as scratch:
        wanted = {
            "api_service": options.api_address,
            "local_inference_service": options.local_address,
        }
        services = {name: start(name, address, Path(scratch)) for name, address in wanted.items()}
        try:
            addresses = {name: wait_for(name, services, Path(scratch)) for name in services}
            ask(addresses["local_inference_service"])
            tell(addresses)
            if not options.once:
                return watch(services)
        except KeyboardInterrupt:
            print()
        except RuntimeError as error:
            print(f"make run: {error}", file=sys.stderr)
            return 1
        finally:
            stop(services)
    return 0


def start(name: str, address: str, scratch: Path) -> subprocess.Popen[bytes]:
    """Start a service. It writes its address to a file once it listens."""
    arguments = ["--address", address, "--address-file", str(scratch / name)]
    # In a session of its own: Ctrl-C reaches this process alone, which ends the services in order.
    return subprocess.Popen([sys.executable, "-m", name, *arguments], start_new_session=True)


def wait_for(name: str, services: dict[str, subprocess.Popen[bytes]], scratch: Path) -> str:
    """Address of a service, once it is healthy."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        for other, process in services.items():
            if process.poll() is not None:
                raise RuntimeError(f"{other} ended with status {process.returncode}")
        file = scratch / name
        if file.exists() and healthy(file.read_text()):
            return file.read_text()
        time.sleep(0.2)
    raise RuntimeError(f"{name} was not ready within {START_TIMEOUT} s")


def healthy(address: str) -> bool:
    """Whether the service at an address says SERVING."""
    probe = [sys.executable, "-m", "marsys.cli", "health", address]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def ask(address: str) -> None:
    """Ask the embedded model and stream the answer to the terminal."""
    model = BaseLocalModel(MODEL, target=address, max_tokens=64, temperature=0.0)
    print(f"\n{MODEL}> {QUESTION}")
    for chunk in model.stream([{"role": "user", "content": QUESTION}]):
        print(chunk["content"], end="", flush=True)
        if chunk["type"] == "done":
            usage = chunk["response"]["usage"]
            print(
                f"\n\n{usage['prompt_tokens']} tokens in, {usage['completion_tokens']} tokens out, "
                f"finish reason {chunk['response']['finish_reason']}"
            )


def tell(addresses: dict[str, str]) -> None:
    """Say where the services are."""
    print(f"api_service              {addresses['api_service']}")
    print(f"local_inference_service  {addresses['local_inference_service']}")


def watch(services: dict[str, subprocess.Popen[bytes]]) -> int:
    """Wait until a service ends or the user stops. Returns the exit status."""
    print("Serving until Ctrl-C.")
    while True:
        for name, process in services.items():
            if process.poll() is not None:
                print(f"{name} ended with status {process.returncode}", file=sys.stderr)
                return process.returncode or 1
        time.sleep(0.5)


def stop(services: dict[str, subprocess.Popen[bytes]]) -> None:
    """End the services in order: they let running calls finish."""
    for process in services.values():
        if process.poll() is None:
            process.terminate()
    for process in services.values():
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
