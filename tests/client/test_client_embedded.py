"""Embedded mode: services that the client starts, shares and takes along when it ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from client_embedded import Programs, Provider, wait_until

pytestmark = pytest.mark.slow


def test_the_first_call_starts_api_service_and_its_end_ends_it(programs: Programs):
    written, said = programs.run("""
model = make()
assert not os.path.exists(os.environ["MARSYS_EMBEDDED_DIR"])  # nothing before it is needed
print(model.run("Hello!")["content"], [c["content"] for c in model.stream("x") if c["content"]])
async def main():
    answer = await model.arun("Hello!")
    print(answer["content"], (await model.run("Hello!"))["content"])
asyncio.run(main())
asyncio.run(main())
""")
    assert written == "Hi ['Hi']\nHi Hi\nHi Hi\n"
    assert said == ""
    wait_until(lambda: not programs.services())
    assert programs.left() == []


def test_ten_lines_with_a_local_model(programs: Programs):
    written, said = programs.run("""
model = BaseLocalModel("smollm2-135m-instruct", max_tokens=32, temperature=0.0)
messages = [{"role": "user", "content": "What is the capital of France?"}]
response = model.run(messages)
assert "Paris" in response["content"] and response["usage"]["total_tokens"] > 0, response
streamed = "".join(chunk["content"] for chunk in model.stream(messages))
assert streamed == response["content"]
print("done")
""")
    assert written == "done\n"
    # A slow start is announced, nothing else is said.
    assert all(line.startswith("marsys: starting local") for line in said.splitlines())
    wait_until(lambda: not programs.services())
    assert programs.left() == []


def test_the_command_line_profits(programs: Programs, provider: Provider):
    environment = programs.environment | {
        "MARSYS_API_PROVIDERS": f'{{"mine": {{"base_url": "{provider.url}"}}}}'
    }
    command = [sys.executable, "-m", "marsys.cli", "chat", "-m", "mine/m", "Hello!"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "Hi"
    wait_until(lambda: not programs.services())


BUSY = """
ask()
print(os.environ["MARSYS_EMBEDDED_DIR"], flush=True)
threading.Thread(target=ask, daemon=True).start()
sys.stdin.read()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent_however_that_ends(programs: Programs, provider: Provider, end):
    program = programs.start(BUSY)
    assert program.stdout is not None
    directory = Path(program.stdout.readline().strip())
    provider.silent.set()  # the next call is under way when the parent ends
    (service,) = programs.services()
    assert service.ppid() == program.pid
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    program.send_signal(end)
    program.wait()
    wait_until(lambda: not service.is_running())


def test_it_ends_with_a_parent_that_is_killed_while_it_starts(programs: Programs):
    program = programs.start("""
threading.Thread(target=ask).start()
""")
    wait_until(programs.services)
    program.kill()
    wait_until(lambda: not programs.services())


PARENT_OF = """
import subprocess
if sys.argv[1:] == ["child"]:
    sys.stdin.read()
ask()
if sys.argv[1] == "fork":
    if os.fork() == 0:
        import time
        time.sleep(600)
else:
    subprocess.Popen([sys.executable, __file__, "child"])
print("started", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["fork", "exec"])
def test_children_of_a_killed_parent_do_not_keep_it(programs: Programs, kind: str):
    program = programs.start(PARENT_OF, kind)
    assert program.stdout is not None
    assert program.stdout.readline() == "started\n"
    (service,) = programs.services()
    (child,) = [c for c in psutil.Process(program.pid).children() if c.pid != service.pid]
    program.kill()
    program.wait()
    wait_until(lambda: not service.is_running())
    assert child.is_running()
    child.kill()


def test_what_a_killed_parent_left_behind_is_no_hindrance(programs: Programs):
    first = programs.start(BUSY)
    assert first.stdout is not None
    directory = first.stdout.readline().strip()
    first.kill()
    first.wait()
    assert programs.run("print(ask())", MARSYS_EMBEDDED_DIR=directory)[0] == "Hi\n"
    wait_until(lambda: not programs.services())
    assert not os.path.exists(directory)


def test_directories_of_trees_long_dead_are_removed(programs: Programs):
    family = programs.scratch / f"marsys-{os.getuid()}-"
    old, fresh = Path(f"{family}old"), Path(f"{family}fresh")
    for directory in (old, fresh):
        (directory / "api").mkdir(parents=True)
        (directory / "api" / "name.owner").touch()
        for path in (directory, directory / "api"):
            path.chmod(0o700)
    for path in (old / "api", old):
        os.utime(path, (0, 0))
    programs.run("ask()")
    assert programs.left() == [str(fresh)]


SHARING = """
import multiprocessing, subprocess

def worker(_):
    return ask()

if __name__ == "__main__":
    first = sys.argv[1]
    if first == "parent":
        ask()
    else:
        make()
    kinds = ["spawn", "forkserver"] if first == "parent" else ["fork", "spawn"]
    for kind in kinds:
        with multiprocessing.get_context(kind).Pool(3) as pool:
            assert pool.map(worker, range(6), 1) == ["Hi"] * 6
            child = [sys.executable, __file__, "child"]
            again = subprocess.run(child, capture_output=True, text=True)
            assert again.stdout == "Hi\\n", again
            print(len(os.listdir(os.environ["MARSYS_EMBEDDED_DIR"] + "/api")), flush=True)
            print("look", flush=True)
            sys.stdin.readline()
"""


@pytest.mark.parametrize("first", ["parent", "children"])
def test_a_process_tree_shares_one(programs: Programs, first: str):
    script = SHARING.replace(
        'if __name__ == "__main__":\n',
        'if sys.argv[1:] == ["child"]:\n    print(ask())\nelif __name__ == "__main__":\n',
    )
    program = programs.start(script, first)
    assert program.stdout is not None
    assert program.stdin is not None
    seen = set()
    for _ in range(2):
        while (line := program.stdout.readline()) != "look\n":
            assert line, program.communicate()
        (service,) = programs.services()
        seen.add(service.pid)
        program.stdin.write("\n")
        program.stdin.flush()
    written, said = program.communicate(timeout=60)
    assert program.returncode == 0, (written, said)
    # The one that the parent started served all; those of children end with them.
    assert len(seen) == (1 if first == "parent" else 2)
    wait_until(lambda: not programs.services())


def test_threads_and_event_loops_race_for_one(programs: Programs):
    program = programs.start("""
def loop():
    async def main():
        answers = await asyncio.gather(*(make().arun("x") for _ in range(5)))
        assert [answer["content"] for answer in answers] == ["Hi"] * 5
    asyncio.run(main())
    done.append(1)

def plain():
    assert ask() == "Hi"
    done.append(1)

done = []
threads = [threading.Thread(target=target) for target in (plain, loop) * 8]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(done), flush=True)
sys.stdin.read()
""")
    assert program.stdout is not None
    assert program.stdout.readline() == "16\n"
    assert len(programs.services()) == 1
    assert len(list(programs.scratch.glob("marsys-*/api/*.log"))) == 1


def test_inside_a_running_loop_run_starts_it_and_the_loop_goes_on(programs: Programs):
    written, said = programs.run("""
async def main():
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)
    ticking = asyncio.create_task(tick())
    pending = make().run("Hello!")
    print((await pending)["content"], ticks > 5)
    print(make().run("Hello!")["content"])
    dropped = make().run("Hello!")
    print(dropped.cancel())
    ticking.cancel()
asyncio.run(main())
""")
    assert written == "Hi True\nHi\nTrue\n"
    assert said == ""


def test_a_call_that_is_cancelled_while_it_starts(programs: Programs):
    written, _ = programs.run("""
async def main():
    task = asyncio.create_task(make().arun("x"))
    await asyncio.sleep(0.1)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")
    pending = make().run("x")
    print(pending.cancel(), pending.done())
    print((await make().arun("x"))["content"])
asyncio.run(main())
""")
    assert written == "cancelled\nTrue True\nHi\n"


def test_timeout_bounds_the_start(programs: Programs):
    written, _ = programs.run("""
from marsys.agents.exceptions import ModelTimeoutError
def check(call):
    error = failing(call)
    assert isinstance(error, ModelTimeoutError), error
    print(error)
model = make(timeout=0.01)
check(lambda: model.run("x"))
check(lambda: asyncio.run(model.arun("x")))
check(lambda: next(model.stream("x")))
print(ask())
""")
    assert written == "no whole answer within 0.01 s\n" * 3 + "Hi\n"


def test_a_service_that_is_killed_is_started_again(programs: Programs, provider: Provider):
    program = programs.start("""
print(ask(), flush=True)
while sys.stdin.readline():
    try:
        print(ask(), flush=True)
    except ModelAPIError as error:
        print(error, "|", error.suggested_action, flush=True)
""")
    assert program.stdin is not None
    assert program.stdout is not None

    def next_answer() -> str:
        program.stdin.write("\n")
        program.stdin.flush()
        return program.stdout.readline()

    assert program.stdout.readline() == "Hi\n"
    (first,) = programs.services()
    provider.silent.set()
    asked = len(provider.keys)
    program.stdin.write("\n")
    program.stdin.flush()
    wait_until(lambda: len(provider.keys) > asked)
    first.kill()
    failed = program.stdout.readline()
    assert "ended" in failed
    assert ".log" in failed
    provider.silent.clear()
    assert next_answer() == "Hi\n"
    (second,) = programs.services()
    assert second.pid != first.pid


def test_a_failure_that_the_service_tells_of_is_not_repeated(programs, provider):
    provider.status = 503
    written, _ = programs.run("""
error = failing(lambda: make(max_retries=1).run("x"))
print(error.status_code, error.grpc_code)
error = failing(lambda: next(make(max_retries=0).stream("x")))
print(error.status_code, error.grpc_code)
""")
    assert written == "503 UNAVAILABLE\n503 UNAVAILABLE\n"
    assert len(provider.keys) == 3


def test_after_fork(programs: Programs):
    written, said = programs.run("""
def in_child(call):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        print(call(), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)

model = make()
in_child(lambda: model.run("x")["content"])   # before any call: it works
print(model.run("x")["content"])
in_child(lambda: failing(lambda: model.run("x")))
in_child(lambda: failing(lambda: asyncio.run(model.arun("x"))))
in_child(lambda: failing(lambda: next(model.stream("x"))))
print(model.run("x")["content"])
""")
    lines = written.splitlines()
    assert (lines[0], lines[1], lines[5]) == ("Hi", "Hi", "Hi")
    assert all("forked" in line and "spawn" in line for line in lines[2:5])
    assert said == ""
    wait_until(lambda: not programs.services())
