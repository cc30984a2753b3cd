"""`marsys oauth` as a user runs it, on this machine's logins and on a service's."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from oauth_fake import CANARY, OAuthFake
from test_oauth_calls import FILES

CODEX, CLAUDE = "openai-oauth", "anthropic-oauth"
# Stands for a provider's CLI: notes how it was run, and leaves a login behind.
PROGRAM = """#!/bin/sh
echo "$0 $@ $CODEX_HOME $CLAUDE_CONFIG_DIR" >> "$HOME/ran"
{body}
"""


@dataclass
class Ran:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def marsys(*arguments: str, answer: str = "", **environ: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "marsys.cli", "oauth", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
    )
    out, err = await asyncio.wait_for(process.communicate(answer.encode()), 60)
    ran = Ran(process.returncode or 0, out.decode(), err.decode())
    assert CANARY not in ran.out + ran.err
    assert "Traceback" not in ran.err
    return ran


def program(home: Path, name: str, body: str) -> str:
    """A PATH with a CLI of the name."""
    directory = home / "bin"
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_text(PROGRAM.format(body=body))
    file.chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


@pytest.fixture(params=["local", "service"])
async def side(request: pytest.FixtureRequest, serve: Any, fake: OAuthFake) -> tuple[str, ...]:
    """The options that choose whose profiles are meant."""
    return () if request.param == "local" else ("--target", await serve())


async def test_life_of_a_profile(side: tuple[str, ...], fake: OAuthFake, home: Path) -> None:
    path = fake.claude_login(home / "work.json")
    named = ("--provider", CLAUDE, "--credentials-path", str(path), "--description", "at work")
    added = await marsys("add", "work", *named, *side)
    assert (added.status, added.out) == (0, "work added\n"), added
    again = await marsys("add", "work", *named, *side)
    assert again.status == 1
    assert "work" in again.err
    default = await marsys("set-default", CLAUDE, "work", *side)
    assert default.out == f"work is now the default of {CLAUDE}\n"
    listed = await marsys("list", *side)
    assert all(word in listed.out for word in ("work (default)", CLAUDE, "valid", str(path), "max"))
    (facts,) = (await marsys("list", "--json", *side)).json
    assert facts["description"] == "at work"
    assert (facts["state"], facts["is_default"]) == ("valid", True)
    assert (await marsys("list", "--provider", CODEX, "--json", *side)).json == []
    one = (await marsys("status", "work", "--json", *side)).json
    assert one == [facts]
    both = await marsys("status", "--json", *side)
    assert [(each["name"], each["state"]) for each in both.json] == [
        ("", "missing"),
        ("work", "valid"),
    ]
    kept = await marsys("remove", "work", *side, answer="n\n")
    assert kept.status == 1
    gone = await marsys("remove", "work", *side, answer="y\n")
    assert (gone.status, path.exists()) == (0, True)
    assert str(path) in gone.out
    assert (await marsys("remove", "work", "--force", *side)).status == 1
    empty = await marsys("list", *side)
    assert (empty.status, empty.out) == (0, "")
    assert "no profiles" in empty.err
    nothing = await marsys("status", *side)
    assert nothing.status == 1
    assert "claude login" in nothing.err


async def test_refresh(side: tuple[str, ...], fake: OAuthFake, home: Path) -> None:
    path = fake.codex_login(home / FILES[CODEX])
    url = () if side else ("--token-url", fake.codex_settings["token_url"])
    await marsys("add", "me", "--provider", CODEX, "--credentials-path", str(path), *side)
    lasting = await marsys("refresh", "me", *url, *side)
    assert (lasting.status, fake.exchanges) == (0, 0)
    assert "--force" in lasting.out
    forced = await marsys("refresh", "me", "--force", *url, *side)
    assert (forced.status, fake.exchanges) == (0, 1), forced
    assert forced.out.startswith("me refreshed, until ")
    fake.codex_login(path, lifetime=-5)
    assert (await marsys("status", "me", "--json", *side)).json[0]["state"] == "expired"
    due = await marsys("refresh", "me", "--json", *url, *side)
    assert (due.status, fake.exchanges) == (0, 2)
    assert due.json["state"] == "valid"
    fake.refuse = 400, {"error": "invalid_grant"}
    ended = await marsys("refresh", "me", "--force", *url, *side)
    assert ended.status == 1
    assert "codex login" in ended.err
    path.unlink()
    missing = await marsys("refresh", "me", *url, *side)
    assert missing.status == 1
    assert "there is no login" in missing.err
    assert (await marsys("refresh", "nobody", *side)).status == 1


@pytest.mark.parametrize(
    ("provider", "name", "variable", "file"),
    [
        (CODEX, "codex", "CODEX_HOME", "auth.json"),
        (CLAUDE, "claude", "CLAUDE_CONFIG_DIR", ".credentials.json"),
    ],
)
async def test_add_logs_in_with_the_providers_own_program(
    provider: str, name: str, variable: str, file: str, fake: OAuthFake, home: Path
) -> None:
    make = fake.codex_login if provider == CODEX else fake.claude_login
    made = make(home / "made.json")
    path = program(home, name, f'cp -p "{made}" "${variable}/{file}"')
    added = await marsys("add", "fresh", "--provider", provider, "--set-default", PATH=path)
    assert (added.status, added.out) == (0, "fresh added as the default\n"), added
    assert "terms" in added.err
    directory = home / ".marsys" / "oauth" / "fresh"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert f"{name} login" in (home / "ran").read_text()
    assert str(directory) in (home / "ran").read_text()
    (facts,) = (await marsys("list", "--json")).json
    assert facts["credentials_path"] == str(directory / file)


@pytest.mark.parametrize(
    ("body", "told"), [("exit 3", "ended with status 3"), ("exit 0", "left no file")]
)
async def test_add_where_logging_in_fails(body: str, told: str, home: Path) -> None:
    path = program(home, "codex", body)
    failed = await marsys("add", "x", "--provider", CODEX, PATH=path)
    assert failed.status == 1
    assert told in failed.err
    assert not (home / ".marsys" / "oauth" / "x").exists()
    assert (await marsys("list", "--json")).json == []


async def test_add_without_the_program(home: Path) -> None:
    failed = await marsys("add", "x", "--provider", CODEX, PATH="/nowhere")
    assert failed.status == 1
    assert "npm install -g @openai/codex" in failed.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "../x", "--provider", CODEX),
        ("add", "x", "--provider", "openai"),
        ("add", "x", "--provider", CODEX, "--credentials-path", "/nowhere/auth.json"),
        ("set-default", CODEX, "nobody"),
        ("set-default", "openai", "nobody"),
        ("status", "nobody"),
        ("refresh", "x", "--token-url", "http://example.com"),
        ("list", "--provider", "openai"),
    ],
)
async def test_mistakes(arguments: tuple[str, ...], home: Path) -> None:
    failed = await marsys(*arguments)
    assert (failed.status, failed.out) == (1, "")
    assert failed.err.startswith("marsys: ") or "marsys: " in failed.err


async def test_nobody_serves(home: Path) -> None:
    failed = await marsys("list", "--target", "127.0.0.1:9")
    assert failed.status == 1
    assert "no service answers" in failed.err


async def test_a_store_of_its_own(fake: OAuthFake, home: Path) -> None:
    path = fake.codex_login(home / FILES[CODEX])
    store = home / "elsewhere" / "store.json"
    named = ("--provider", CODEX, "--credentials-path", str(path))
    added = await marsys("add", "x", *named, MARSYS_CREDENTIALS_PATH=str(store))
    assert added.status == 0
    assert "x" in json.loads(store.read_text())["profiles"]
