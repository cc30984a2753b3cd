"""Every script of examples/python, as a process of its own, as a newcomer runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from e2e_services import ROOT, Service
from loop_thread import LoopThread
from oauth_fake import OAuthFake

EXAMPLES = ROOT / "examples" / "python"
KEY = "sk-llmock-test-key"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f"
    b"\x15\xc4\x89\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND"
    b"\xaeB`\x82"
)
PROVIDERS = {
    "openrouter": "openai",
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gemini",
}
KEYS = ("OPENROUTER_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY")
RUN: set[str] = set()  # the scripts that tests of this file have run

Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def logins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OAuthFake, Path]]:
    """A provider that takes logins, and a home directory with one."""
    fake = OAuthFake()
    loop = LoopThread()
    runner = web.AppRunner(fake.application(), shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    loop.do(start())
    home = tmp_path_factory.mktemp("home")
    fake.codex_login(home / ".codex" / "auth.json")
    yield fake, home
    loop.do(runner.cleanup())
    loop.end()


@pytest.fixture(scope="module")
def services(scratch: Path) -> Iterator[dict[str, Service]]:
    started: dict[str, Service] = {}
    yield started
    for service in started.values():
        service.stop()


@pytest.fixture
def remote(services: dict[str, Service], llmock: Any, logins: Any, scratch: Path) -> Service:
    """api_service, whose providers are all llmock."""
    if "api" not in services:
        fake, home = logins
        providers: dict[str, Any] = {
            name: {"base_url": llmock.base_url(path)} for name, path in PROVIDERS.items()
        }
        providers["openai-oauth"] = fake.codex_settings
        environment = {
            "MARSYS_API_PROVIDERS": json.dumps(providers),
            "MARSYS_API_OAUTH_PROVIDERS": '["openai-oauth"]',
            "HOME": str(home),
        }
        services["api"] = Service("api_service", scratch / "examples", environment=environment)
        services["api"].wait_ready()
    return services["api"]


@pytest.fixture
def run(remote: Service, tmp_path: Path) -> Run:
    """Runs a script. Returns what it printed, and what it said on stderr."""

    def run(name: str, *arguments: str, **environment: str) -> tuple[str, str]:
        RUN.add(name)
        result = subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            env={
                **os.environ,
                **dict.fromkeys(KEYS, KEY),
                "PYTHONPATH": os.pathsep.join((str(ROOT / "client"), str(ROOT))),
                "MARSYS_API_TARGET": remote.address,
                **environment,
            },
        )
        assert result.returncode == 0, result.stderr
        return result.stdout, result.stderr

    return run


def test_answer(run: Run, llmock: Any):
    llmock.reply("Paris.", times=None)
    assert run("answer.py") == ("Paris.\n", "")
    assert run("answer.py", "Which", "city?", MODEL="google/gemini-2.0-flash") == ("Paris.\n", "")


def test_asynchronous(run: Run, llmock: Any):
    llmock.reply("A city.", times=None)
    expected = "A city.\nItaly: A city.\nSpain: A city.\nPortugal: A city.\n"
    assert run("asynchronous.py") == (expected, "")


def test_streaming(run: Run, llmock: Any):
    llmock.reply("Once upon a time.", times=None)
    expected = "Once upon a time.\nOnce upon a time.\nFinished because of stop\n"
    assert run("streaming.py") == (expected, "")


def test_tools(run: Run, llmock: Any):
    llmock.call_tool("get_weather", {"location": "Paris"})
    llmock.reply("It is clear.")
    assert run("tools.py") == ("Tool: get_weather {'location': 'Paris'}\nIt is clear.\n", "")


def test_conversation(run: Run, llmock: Any):
    llmock.call_tool("get_weather", {"location": "Paris"})
    llmock.reply("18 degrees.").reply("You're welcome.")
    expected = "Looking up Paris\n18 degrees.\nYou're welcome.\n7 messages\n"
    assert run("conversation.py") == (expected, "")


def test_structured_output(run: Run):
    written, said = run("structured_output.py")
    assert re.fullmatch(r"Answer: .+ \(confidence: [\d.]+\)\n", written)
    assert said == ""


def test_json_mode(run: Run, llmock: Any):
    llmock.reply('{"answer": "4", "confidence": 1.0}')
    assert run("json_mode.py") == ("{'answer': '4', 'confidence': 1.0}\n", "")


def test_images(run: Run, llmock: Any, tmp_path: Path):
    llmock.reply("A dot.")
    (tmp_path / "dot.png").write_bytes(PNG)
    assert run("images.py", "dot.png") == ("A dot.\n", "")


def test_local_model(run: Run, local_service: Service):
    written, said = run("local_model.py", MARSYS_LOCAL_TARGET=local_service.address)
    answer, tokens, again = written.splitlines()
    assert "Paris" in answer
    assert again == answer
    assert re.fullmatch(r"\d+ tokens", tokens)
    assert said == ""


def test_local_json(run: Run, local_service: Service):
    written, said = run("local_json.py", MARSYS_LOCAL_TARGET=local_service.address)
    assert re.fullmatch(r"\{'city': .+, 'continent': '[A-Z][a-z]+'\}\n", written)
    assert said == ""


def test_weights(run: Run, embedded_directory: Path):
    written, said = run("weights.py", str(embedded_directory))
    assert re.match(r"[\d,]+ parameters\n\d+ tokens .+\nCan be trained: True\n.*Paris", written)
    assert said == ""


def test_errors(run: Run, llmock: Any):
    llmock.reply("Hi.")
    assert run("errors.py") == ("Hi.\n", "")
    llmock.reset()
    llmock.fail(401)
    written, said = run("errors.py")
    assert written.startswith("authentication_failed (401): ")
    assert "\nCheck the API key: OPENROUTER_API_KEY" in written
    assert said == ""
    llmock.reset()
    llmock.context_overflow()
    assert run("errors.py")[0].startswith("Too long: the model takes ")
    assert run("errors.py", MARSYS_API_TARGET="nonsense")[0].startswith("Set up wrongly: ")


def test_fallback(run: Run, llmock: Any):
    llmock.fail(401, provider="openai", times=2)
    llmock.reply("A city.", provider="anthropic", times=None)
    written, said = run("fallback.py")
    failed = "openai/gpt-5 failed: authentication_failed"
    assert written == f"A city.\nAnswered by claude-opus-4-6\n{failed}\nA city.\n"
    warning = "openai/gpt-5 failed, falling back to anthropic/claude-opus-4-6: "
    assert [line.startswith(warning) for line in said.splitlines()] == [True, True]
    assert KEY not in said


def test_usage(run: Run):
    written, said = run("usage.py")
    assert re.fullmatch(
        r"Prompt tokens: \d+\nCompletion tokens: \d+\nTotal tokens: \d+\nCost: \$0\.0\d+\n"
        r"gpt-4o-mini.* by openai, request \S+\nAttempts that failed before: 0\n",
        written,
    ), written
    assert said == ""


def test_oauth_login(run: Run, logins: Any):
    assert run("oauth_login.py") == ("Paris.\n", "")
    assert logins[0].calls == 1


def test_many_models(run: Run, llmock: Any):
    llmock.reply("Paris.", times=None)
    llmock.fail(401, provider="gemini")
    written, said = run("many_models.py")
    first, second, third = written.splitlines()
    assert (first, second) == ("openai/gpt-5: Paris.", "anthropic/claude-opus-4-6: Paris.")
    assert third.startswith("google/gemini-3-flash-preview: failed: ")
    assert said == ""


def test_configuration(run: Run, llmock: Any, local_service: Service):
    llmock.reply("Paris.")
    written, said = run("configuration.py", MARSYS_LOCAL_TARGET=local_service.address)
    remote, local = written.splitlines()
    assert remote == "Paris."
    assert "Paris" in local
    assert said == ""


def test_none_is_forgotten():
    """Each script has a test above and a line in the README."""
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    source = Path(__file__).read_text()
    assert {name for name in scripts if f'run("{name}"' not in source} == set()
    listed = set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text()))
    assert listed == scripts
    assert scripts >= RUN


def test_they_are_short():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 50, path.name
