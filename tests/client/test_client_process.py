"""The client in whole programs: their ends, Ctrl-C, forks, event loops of every kind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import client_program
import pytest
from client_talking import TalkingService

# asyncio's own debug mode tells of steps that took long: a busy machine is slow.
PREAMBLE = """
import asyncio, logging, os, sys, threading, time
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))
from marsys.agents.exceptions import AgentFrameworkError, ModelAPIError, ModelTimeoutError
from marsys.models import BaseAPIModel
model = BaseAPIModel("p", "m", target=sys.argv[1])

def t():
    "A tool."
    return "result"

def sync_calls():
    assert model.run("Hi")["content"] == "Hi "
    assert "".join(chunk["content"] for chunk in model.stream("Hi")) == "Hi "
    with model.converse(tools=[t]) as chat:
        assert chat.send("call:1").result()["content"] == "result "
        assert chat.send("Hi").result()["content"] == "Hi "
    assert model.with_fallback(model).run("Hi")["content"] == "Hi "
    try:
        model.run("wait", timeout=0.05)
    except ModelTimeoutError:
        pass
    try:
        model.run("overloaded")
    except ModelAPIError:
        pass

async def async_calls():
    assert (await model.arun("Hi"))["content"] == "Hi "
    assert (await model.run("Hi"))["content"] == "Hi "
    assert model.run("Hi")["content"] == "Hi "
    assert "".join([chunk["content"] async for chunk in model.stream("Hi")]) == "Hi "
    async with model.converse(tools=[t]) as chat:
        assert (await chat.send("call:1"))["content"] == "result "
        assert (await chat.send("Hi"))["content"] == "Hi "
    task = asyncio.create_task(model.arun("wait"))
    await asyncio.sleep(0.05)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    pending = model.run("wait")
    await asyncio.sleep(0.05)
    assert pending.cancel()
    answers = await asyncio.gather(*(model.arun("Hi") for _ in range(20)))
    assert {answer["content"] for answer in answers} == {"Hi "}

"""


@pytest.fixture
def service() -> Iterator[TalkingService]:
    talking = TalkingService().begin()
    yield talking
    talking.end()


def start(script: str, service: TalkingService, tmp_path: Path) -> subprocess.Popen[str]:
    return client_program.start(PREAMBLE + script, service.address, tmp_path)


ENDS = {
    "all that is synchronous": "sync_calls()",
    "all that is asynchronous": "asyncio.run(async_calls())",
    "one after the other": "sync_calls(); asyncio.run(async_calls()); sync_calls()",
    "several loops": """
asyncio.run(async_calls())
asyncio.run(async_calls())
with asyncio.Runner() as runner:
    runner.run(async_calls())
    runner.run(async_calls())
""",
    "loops that are closed by hand": """
for _ in range(2):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(async_calls())
    loop.close()
sync_calls()
""",
    "a response of one loop is awaited in another": """
async def begin():
    return model.run("Hi")
async def end(pending):
    return await pending
assert asyncio.run(end(asyncio.run(begin())))["content"] == "Hi "
""",
    "loops and calls in threads, at once": """
targets = [sync_calls, lambda: asyncio.run(async_calls())] * 4
threads = [threading.Thread(target=target) for target in targets]
for thread in threads:
    thread.start()
asyncio.run(async_calls())
for thread in threads:
    thread.join()
""",
    "synchronous calls beside a loop": """
async def main():
    await asyncio.gather(async_calls(), *(asyncio.to_thread(sync_calls) for _ in range(4)))
asyncio.run(main())
""",
    "uvloop": """
import uvloop
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(async_calls())
""",
    "an unfinished stream": """
stream = model.stream("one wait two")
print(next(stream)["content"])
""",
    "an unfinished stream of a loop": """
stream = model.stream("one wait two")
async def main():
    print((await anext(stream))["content"])
asyncio.run(main())
""",
    "an unfinished stream of a loop that is left": """
async def main():
    async for chunk in model.stream("one wait two"):
        break
asyncio.run(main())
""",
    "an unfinished conversation": """
chat = model.converse()
turn = chat.send("one wait two")
print(next(turn)["content"])
""",
    "an unfinished conversation of a loop": """
chat = model.converse()
async def main():
    global turn
    turn = chat.send("one wait two")
    print((await anext(turn))["content"])
asyncio.run(main())
""",
    "a task that still waits": """
async def main():
    global task
    task = asyncio.create_task(model.arun("wait"))
    await asyncio.sleep(0.2)
asyncio.run(main())
""",
    "a response that is still waited for": """
async def main():
    global pending, task
    pending = model.run("wait")
    task = asyncio.ensure_future(pending)
    await asyncio.sleep(0.2)
asyncio.run(main())
""",
    "daemon threads amid their calls": """
for call in (lambda: model.run("wait"), lambda: list(model.stream("wait")),
             lambda: asyncio.run(model.arun("wait"))):
    threading.Thread(target=call, daemon=True).start()
time.sleep(0.5)
""",
    "sys.exit in a coroutine": """
async def main():
    await async_calls()
    model.run("wait").cancel()
    sys.exit(0)
asyncio.run(main())
""",
    "nothing was ever asked": "",
}


@pytest.mark.parametrize("script", ENDS.values(), ids=ENDS.keys())
def test_programs_end_without_a_word(service: TalkingService, tmp_path: Path, script: str):
    program = start(script + '\nprint("done")' * ("sys.exit" not in script), service, tmp_path)
    written, said = program.communicate(timeout=120)
    assert said == ""
    assert program.returncode == 0
    assert written.endswith("done\n") or "sys.exit" in script


def test_a_dropped_response_is_told_of(service: TalkingService, tmp_path: Path):
    """The one warning there shall be."""
    script = "async def main():\n    model.run('wait')\nasyncio.run(main())"
    _, said = start(script, service, tmp_path).communicate(timeout=60)
    assert "never awaited or read" in said


INTERRUPTED = {
    "run": 'model.run("wait")',
    "stream": 'list(model.stream("one wait"))',
    "arun": 'asyncio.run(model.arun("wait"))',
    "pending": """
async def main():
    return await model.run("wait")
asyncio.run(main())""",
    "blocked in a loop": """
async def main():
    return model.run("wait")["content"]
asyncio.run(main())""",
    "astream": """
async def main():
    async for _ in model.stream("one wait"):
        pass
asyncio.run(main())""",
    "converse": 'model.converse().send("one wait").result()',
    "aconverse": """
async def main():
    async with model.converse() as chat:
        await chat.send("one wait")
asyncio.run(main())""",
    "the second chunk of a turn": """
turn = model.converse().send("one wait")
next(turn)
next(turn)""",
    "fallback": 'model.with_fallback(model).run("wait")',
}


@pytest.mark.parametrize("script", INTERRUPTED.values(), ids=INTERRUPTED.keys())
def test_ctrl_c(service: TalkingService, tmp_path: Path, script: str):
    body = "\n    ".join(script.strip().splitlines())
    caught = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
try:
    {body}
except KeyboardInterrupt:
    print("interrupted")
print(model.run("Hi")["content"], flush=True)
input()
"""
    program = start(caught, service, tmp_path)
    service.wait()
    program.send_signal(signal.SIGINT)
    assert program.stdout is not None
    assert program.stdout.readline() == "interrupted\n"
    assert program.stdout.readline() == "Hi \n"
    end = time.monotonic() + 20
    while service.talker.stopped < 1:  # nobody pays for what nobody reads, also while it goes on
        assert time.monotonic() < end
        time.sleep(0.05)
    _, said = program.communicate("\n", timeout=60)
    assert said == ""


def test_handlers_that_raise_nothing(service: TalkingService, tmp_path: Path):
    """A program that notes Ctrl-C, and ends when its answer has come."""
    program = start(
        """
import signal
def note(number, frame):
    print("noted", flush=True)
signal.signal(signal.SIGINT, note)
print("".join(chunk["content"] for chunk in model.stream("one wait two")))
assert signal.getsignal(signal.SIGINT) is note
""",
        service,
        tmp_path,
    )
    assert program.stdout is not None
    service.wait()
    program.send_signal(signal.SIGINT)
    assert program.stdout.readline() == "noted\n"
    service.release()
    written, said = program.communicate(timeout=60)
    assert said == ""
    assert written == "one two \n"
    assert service.talker.stopped == 0


def test_after_fork(service: TalkingService, tmp_path: Path):
    program = start(
        """
import multiprocessing

def in_child(call):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            print(call(), flush=True)
        except AgentFrameworkError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)

def ask(*_):
    return model.run("Hi")["content"]

in_child(ask)                                 # before any call it works
in_child(lambda: asyncio.run(model.arun("Hi"))["content"])
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(ask, range(4)))
print(ask())
in_child(ask)                                 # after one it is refused, in every way
in_child(lambda: asyncio.run(model.arun("Hi")))
in_child(lambda: list(model.stream("Hi")))
in_child(lambda: model.converse().send("Hi").result())
in_child(lambda: model.with_fallback(model).run("Hi"))
print(ask())
""",
        service,
        tmp_path,
    )
    written, said = program.communicate(timeout=60)
    lines = written.splitlines()
    assert lines[:4] == ["Hi ", "Hi ", str(["Hi "] * 4), "Hi "], said
    assert len(lines) == 10
    assert all("forked" in line and "spawn" in line for line in lines[4:9])
    assert lines[9] == "Hi "
    assert said == ""
