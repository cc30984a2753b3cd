"""When a service is embedded and when not; its settings; what is said where it can't start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from client_embedded import Programs, Provider, wait_until


def test_settings_and_keys_of_the_environment_count_and_no_token_is_needed(
    programs: Programs, provider: Provider
):
    mine = f'{{"mine": {{"base_url": "{provider.url}", "api_key_env": "MINE_KEY"}}}}'
    written, _ = programs.run(
        'print(BaseAPIModel(model_name="mine/m").run("Hello!")["content"])',
        MARSYS_API_PROVIDERS=mine,
        MINE_KEY="from-env",
        MARSYS_API_TOKEN="operators",
        MARSYS_API_TLS_CERT_FILE="/none",
        MARSYS_API_ADDRESS="127.0.0.1:1",
    )
    assert written == "Hi\n"
    assert provider.keys == ["from-env"]
    programs.run("ask()", MARSYS_TOKEN="clients")


def test_off_switch(programs: Programs):
    written, _ = programs.run(
        """
error = failing(ask)
print(error, error.suggested_action)
print("MARSYS_EMBEDDED_DIR" in os.environ)
""",
        MARSYS_EMBEDDED="0",
    )
    assert written.startswith("no service answers at 127.0.0.1:50051")
    assert "marsys serve" in written
    assert written.endswith("False\n")
    assert programs.left() == []


@pytest.mark.parametrize("named", ["argument", "environment"])
def test_a_target_is_never_replaced(programs: Programs, named: str):
    address = "127.0.0.1:9"
    in_environment = {"MARSYS_API_TARGET": address} if named == "environment" else {}
    given = f"target={address!r}" if named == "argument" else ""
    written, _ = programs.run(f"print(failing(lambda: make({given}).run('x')))", **in_environment)
    assert written.startswith(f"no service answers at {address}")
    assert programs.left() == []


BLOCK = """
import importlib.machinery, os
find = importlib.machinery.PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name in os.environ["BLOCKED"].split(",") else find(name, path, target)
importlib.machinery.PathFinder.find_spec = find_others
"""


@pytest.mark.parametrize(
    ("model", "blocked", "extra"),
    [
        ("make()", "aiohttp", "marsys-models[api]"),
        ("make()", "api_service,grpc_health", "marsys-models[api]"),
        ("BaseLocalModel('m')", "torch,transformers", "marsys-models[local]"),
    ],
)
def test_missing_libraries_are_named_with_their_extra(programs, model, blocked, extra):
    folder = programs.scratch / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join((str(folder), programs.environment["PYTHONPATH"]))
    written, _ = programs.run(
        f"""
for _ in range(2):
    error = failing(lambda: {model}.run("x"))
    assert isinstance(error, ModelAPIError) and error.classification == "network_error"
print(error, "|", error.suggested_action)
""",
        BLOCKED=blocked,
        PYTHONPATH=path,
    )
    message, _, action = written.partition("|")
    assert message.startswith("no service answers at 127.0.0.1:5005")
    for name in blocked.split(","):
        assert name in message
    assert f"pip install '{extra}'" in action


def test_a_service_that_does_not_start_says_why_and_where_its_log_is(programs: Programs):
    written, said = programs.run(
        """
error = failing(ask)
print(error)
print(error.suggested_action)
""",
        MARSYS_API_GRACE="soon",
    )
    message, action = written.splitlines()
    assert "api_service did not start" in message
    assert "MARSYS_API_GRACE" in message
    log = next(programs.scratch.glob("marsys-*/api/*.log"))
    assert str(log) in action
    assert "MARSYS_API_GRACE" in log.read_text()
    assert said == ""


def test_a_directory_that_others_can_enter_is_refused(programs: Programs):
    shared = programs.scratch / "shared"
    shared.mkdir(mode=0o755)
    written, _ = programs.run("print(failing(ask))", MARSYS_EMBEDDED_DIR=str(shared))
    assert "open to others" in written
    link = programs.scratch / "link"
    link.symlink_to(programs.scratch)
    written, _ = programs.run("print(failing(ask))", MARSYS_EMBEDDED_DIR=str(link))
    assert "open to others" in written


def test_a_service_on_the_usual_port_is_used(programs: Programs, tmp_path: Path):
    address_file = tmp_path / "address"
    service = subprocess.Popen(
        [sys.executable, "-m", "api_service", "--address-file", str(address_file)],
        env=programs.environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: address_file.exists() or service.poll() is not None)
        assert address_file.read_text() == "127.0.0.1:50051"
        assert programs.run("print(ask())")[0] == "Hi\n"
        assert programs.left() == []
    finally:
        service.terminate()
        service.wait()


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_another_program_on_the_usual_port_is_no_service(programs, kind):
    if kind == "grpc":
        server = grpc.server(futures.ThreadPoolExecutor(2))
        server.add_insecure_port("127.0.0.1:50051")
        server.start()
        stop = [lambda: server.stop(0).wait()]
    else:
        web = subprocess.Popen(
            [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "50051"],
            cwd=programs.scratch,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stop = [web.kill, web.wait]
    try:
        with socket.socket() as probe:
            wait_until(lambda: probe.connect_ex(("127.0.0.1", 50051)) == 0)
        assert programs.run("print(ask())")[0] == "Hi\n"
    finally:
        for each in stop:
            each()


def test_modules_in_the_working_directory_are_not_the_services(programs: Programs):
    folder = programs.scratch / "elsewhere"
    folder.mkdir()
    (folder / "asyncio.py").write_text("raise SystemExit('the wrong asyncio')")
    assert programs.run(f"os.chdir({str(folder)!r}); print(ask())")[0] == "Hi\n"
