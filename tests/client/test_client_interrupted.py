"""Ctrl-C again and again, at any moment, and where the service doesn't listen."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import time
from pathlib import Path
from typing import Any

import client_program
import pytest
from client_asking import failure
from client_scripted import ScriptedService
from client_talking import TalkingService

from marsys.agents.exceptions import ModelTimeoutError
from marsys.models import BaseAPIModel

MODEL = """
import random, signal, sys, threading, time
from marsys.models import BaseAPIModel
signal.signal(signal.SIGINT, signal.default_int_handler)
model = BaseAPIModel("p", "m", target=sys.argv[1])
"""

HAMMER = """
sys.unraisablehook = lambda _: None  # gRPC's __del__ is interrupted now and then
chat = model.converse()
armed, stopped = threading.Event(), threading.Event()

def run():
    assert model.run("Hi")["content"] == "Hi "

def stream():
    assert "".join(chunk["content"] for chunk in model.stream("one two")) == "one two "

def converse():
    assert chat.send("one two").result()["content"] == "one two "

def interrupt():
    while not stopped.wait(random.uniform(0.0005, 0.02)):
        if armed.is_set():
            armed.clear()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

thread = threading.Thread(target=interrupt)
thread.start()
interrupted = 0
while interrupted < 150:
    try:
        armed.set()
        while armed.is_set():
            HOW()
        time.sleep(0.05)
    except KeyboardInterrupt:
        interrupted += 1
    run(), stream(), converse()
stopped.set()
thread.join()
chat.close()
print("all went on")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["run", "stream", "converse"])
def test_at_any_moment(how: str, tmp_path: Path) -> None:
    """A lock of gRPC's that stays taken, or an answer that is half read, hangs what comes next."""
    service = TalkingService().begin()
    program = client_program.start(MODEL + HAMMER.replace("HOW", how), service.address, tmp_path)
    try:
        assert program.communicate(timeout=300) == ("all went on\n", "")
    finally:
        program.kill()
        service.end()


async def test_tasks_are_cancelled_at_any_moment() -> None:
    service = TalkingService().begin()
    chat = BaseAPIModel("p", "m", target=service.address).converse()
    try:
        for _ in range(200):
            task = asyncio.ensure_future(chat.send("one two three, four").result_async())
            await asyncio.sleep(random.uniform(0, 0.006))
            task.cancel()
            await asyncio.wait({task})
            async with asyncio.timeout(20):
                assert (await chat.send("five"))["content"] == "five "
    finally:
        await chat.aclose()
        await asyncio.to_thread(service.end)


async def test_nobody_waits_for_what_fails(service: ScriptedService) -> None:
    """asyncio tells of tasks whose exceptions nobody has asked for."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, facts: told.append(facts))
    service.fail(failure("OVERLOADED"))
    chat = BaseAPIModel("p", "m", target=service.address).converse()
    task = asyncio.ensure_future(chat.send("Hi").result_async())
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0.5)
    await chat.aclose()
    del chat, task
    await asyncio.sleep(0.1)  # the call lets go of it
    gc.collect()
    assert told == []


async def test_time_where_the_service_does_not_listen(service: ScriptedService) -> None:
    chat = BaseAPIModel("p", "m", target=service.address).converse(timeout=0.2)
    with pytest.raises(ModelTimeoutError):
        await chat.send("Hi")
    with pytest.raises(ModelTimeoutError):
        await asyncio.to_thread(chat.send("Hi").result)


def test_twice_where_the_service_does_not_listen(service: ScriptedService, tmp_path: Path) -> None:
    script = """
chat = model.converse()
threading.Timer(0.5, print, ["waits"], {"flush": True}).start()
try:
    chat.send("Hi").result()
except KeyboardInterrupt:
    print("interrupted")
assert chat.messages == []
"""
    program = client_program.start(MODEL + script, service.address, tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "waits\n"
    program.send_signal(signal.SIGINT)
    time.sleep(0.3)
    program.send_signal(signal.SIGINT)
    assert program.communicate(timeout=60) == ("interrupted\n", "")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_answer_that_comes_at_once_is_left(asynchronous: bool) -> None:
    """The first chunk that is handed out has the end of the answer behind it."""
    service = TalkingService().begin()
    chat = BaseAPIModel("p", "m", target=service.address).converse()

    async def aleave() -> None:
        async for _ in chat.send("one, two,"):
            break

    def leave() -> None:
        for _ in chat.send("one, two,"):
            break

    async def ask() -> Any:
        async with asyncio.timeout(20):
            await (aleave() if asynchronous else asyncio.to_thread(leave))
            turn = chat.send("three")
            return await turn if asynchronous else await asyncio.to_thread(turn.result)

    try:
        assert asyncio.run(ask())["content"] == "three "
        assert service.asked == ["user: one, two,", "assistant: one, two,", "user: three"]
    finally:
        chat.close()
        service.end()
