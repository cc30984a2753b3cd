"""The client in a notebook: a real Jupyter kernel, whose cells run inside an event loop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_talking import TalkingService

pytest.importorskip("ipykernel", reason="there is no Jupyter here: pip install ipykernel")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Cell = Callable[[str], tuple[str, str]]


@pytest.fixture(scope="module")
def service() -> Iterator[TalkingService]:
    talking = TalkingService().begin()
    yield talking
    talking.end()


@pytest.fixture(scope="module")
def kernel(service: TalkingService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from jupyter_client.manager import KernelManager

    home = tmp_path_factory.mktemp("jupyter")
    manager = KernelManager(connection_file=str(home / "kernel.json"))
    given = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join((str(ROOT / "client"), str(ROOT), given))
    environment = {"PYTHONPATH": path, "HOME": str(home), "IPYTHONDIR": str(home)}
    manager.start_kernel(env={**os.environ, **environment})
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def cell(kernel: Any, service: TalkingService) -> Cell:
    """Runs a cell. Returns what it printed, and its value or its error."""
    _, client = kernel

    def run(code: str, on_start: Callable[[], None] = lambda: None) -> tuple[str, str]:
        printed, value = [], []

        def take(message: dict[str, Any]) -> None:
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "busy":
                on_start()
            elif kind == "stream":
                printed.append(content["text"])
            elif kind == "execute_result":
                value.append(content["data"]["text/plain"])
            elif kind == "error":
                value.append(content["ename"])

        client.execute_interactive(code, output_hook=take, timeout=60)
        return "".join(printed), "".join(value)

    printed, failed = run(
        "import warnings; warnings.simplefilter('error')\n"
        "from marsys.models import BaseAPIModel\n"
        f"model = BaseAPIModel('p', 'm', target={service.address!r})\n"
    )
    assert (printed, failed) == ("", "")
    return run


def test_run_as_if_there_were_no_loop(cell: Cell):
    assert cell("model.run('Hi')['content']") == ("", "'Hi '")
    assert cell("model.run('Hi').content") == ("", "'Hi '")
    assert cell("response = model.run('Hi')\nprint(response['content'])") == ("Hi \n", "")


def test_await_run(cell: Cell):
    assert cell("(await model.run('Hi'))['content']") == ("", "'Hi '")
    assert cell("(await model.arun('Hi'))['content']") == ("", "'Hi '")


def test_a_response_of_one_cell_is_read_in_the_next(cell: Cell):
    assert cell("pending = model.run('Hi')") == ("", "")
    assert cell("(await pending)['content']") == ("", "'Hi '")
    assert cell("pending['content']") == ("", "'Hi '")


@pytest.mark.parametrize("loop", ["for", "async for"])
def test_streams(cell: Cell, loop: str):
    code = f"{loop} chunk in model.stream('one two'):\n    print(chunk['content'], end='|')"
    assert cell(code) == ("one |two ||", "")


def test_several_at_once(cell: Cell):
    code = "import asyncio\n[r.content for r in await asyncio.gather(*map(model.run, 'abc'))]"
    assert cell(code) == ("", "['a ', 'b ', 'c ']")


def test_conversations(cell: Cell):
    assert cell("chat = model.converse()\n(await chat.send('one'))['content']") == ("", "'one '")
    assert cell("chat.send('two').result()['content']") == ("", "'two '")
    assert cell("[m['content'] for m in chat.messages]")[1] == "['one', 'one ', 'two', 'two ']"
    assert cell("chat.close()") == ("", "")


def test_fallback(cell: Cell):
    assert cell("model.with_fallback(model).run('Hi')['content']") == ("", "'Hi '")
    assert cell("(await model.with_fallback(model).run('Hi'))['content']") == ("", "'Hi '")


# What is awaited, Jupyter itself only stops when its loop wakes up next, so that isn't tested.
# Often, as an interrupt that came amid gRPC's locks once made every twentieth next call hang.
@pytest.mark.parametrize("_", range(10))
@pytest.mark.parametrize("code", ["model.run('wait')['content']", "list(model.stream('wait'))"])
def test_the_stop_button(cell: Any, kernel: Any, service: TalkingService, code: str, _: int):
    def stop() -> None:
        service.wait()
        kernel[0].interrupt_kernel()

    before = service.talker.stopped
    stopper = threading.Thread(target=stop)
    _, error = cell(code, lambda: None if stopper.ident else stopper.start())
    stopper.join()
    assert error == "KeyboardInterrupt"
    end = time.monotonic() + 20
    while service.talker.stopped == before:  # though Jupyter keeps the error, and what is on it
        assert time.monotonic() < end
        time.sleep(0.01)
    assert cell("model.run('Hi')['content']") == ("", "'Hi '")


def test_errors_are_shown_once(cell: Cell):
    assert cell("model.run('overloaded')['content']") == ("", "ModelAPIError")
    assert cell("await model.run('overloaded')") == ("", "ModelAPIError")
