"""Files of credentials in every state: what can't be used is told apart, and says what to run."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from oauth_fake import OAuthFake, written
from test_oauth_calls import FILES, PROVIDERS, log_in
from test_oauth_refresh import COMMANDS, ask, refused

from api_service.oauth.credential_file import Replacement, read_file, recover
from api_service.oauth.credentials import Grant
from api_service.oauth.kinds import CODEX, KINDS

BROKEN: dict[str, Any] = {
    "empty": b"",
    "half": b'{"tokens": {"access_tok',
    "no JSON": b"\xff\xfe",
    "a list": b"[]",
    "no login": b"{}",
    "other types": b'{"tokens": {"access_token": 7}, "claudeAiOauth": {"accessToken": []}}',
    "no tokens": b'{"tokens": null, "claudeAiOauth": null}',
    "no header": b'{"tokens": {"access_token": "a\\nb"}, "claudeAiOauth": {"accessToken": "a b"}}',
    "deep": b"[" * 100_000,
    "huge": b" " * (2 * 1024 * 1024),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_broken(name: str, provider: str, serve: Any, home: Path) -> None:
    path = home / FILES[provider]
    path.parent.mkdir()
    path.write_bytes(BROKEN[name])
    path.chmod(0o600)
    error = await refused(provider, await serve())
    assert (error.reason, error.is_retryable) == ("AUTHENTICATION_FAILED", False)
    assert "holds no login" in error.message
    assert COMMANDS[provider] in error.suggestion
    assert path.read_bytes() == BROKEN[name]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_missing(provider: str, serve: Any, home: Path) -> None:
    error = await refused(provider, await serve())
    assert f"there is no login at {home / FILES[provider]}" in error.message
    assert COMMANDS[provider] in error.suggestion


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o666, 0o602])
async def test_open_to_others(mode: int, serve: Any, fake: OAuthFake, home: Path) -> None:
    path = fake.codex_login(home / FILES["openai-oauth"])
    path.chmod(mode)
    address = await serve()
    error = await refused("openai-oauth", address)
    assert f"{mode:04o}" in error.message
    assert f"chmod 600 {path}" in error.suggestion
    assert fake.seen == []
    path.chmod(0o640)  # as a container mounts it for its group
    assert await ask("openai-oauth", address) == "Paris."


@pytest.mark.parametrize("what", ["directory", "pipe", "device"])
async def test_no_file(what: str, serve: Any, home: Path) -> None:
    path = home / FILES["openai-oauth"]
    path.parent.mkdir()
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.symlink_to("/dev/zero")
    error = await refused("openai-oauth", await serve())
    assert "is no file" in error.message or "can't be read" in error.message


async def test_an_api_key_is_no_login(serve: Any, home: Path) -> None:
    written(home / FILES["openai-oauth"], {"OPENAI_API_KEY": "sk-CANARY", "tokens": None})
    error = await refused("openai-oauth", await serve())
    assert "it holds an API key" in error.message
    assert "CANARY" not in error.message


async def test_a_file_that_is_being_written_is_waited_for(
    serve: Any, fake: OAuthFake, home: Path
) -> None:
    path = fake.codex_login(home / FILES["openai-oauth"])
    whole = path.read_bytes()
    path.write_bytes(whole[:100])  # as Codex does: cut to nothing, then written
    timer = threading.Timer(0.1, path.write_bytes, [whole])
    timer.start()
    assert await ask("openai-oauth", await serve()) == "Paris."
    timer.join()


async def test_a_link_stays_a_link(serve: Any, fake: OAuthFake, home: Path) -> None:
    real = fake.claude_login(home / "elsewhere" / "login.json", lifetime=-1)
    link = home / FILES["anthropic-oauth"]
    link.parent.mkdir()
    link.symlink_to(real)
    assert await ask("anthropic-oauth", await serve()) == "Paris."
    assert link.is_symlink()
    assert fake.refresh_token in real.read_text()


async def test_where_nothing_can_be_written_no_token_is_spent(
    serve: Any, fake: OAuthFake, home: Path
) -> None:
    path = fake.claude_login(home / FILES["anthropic-oauth"], lifetime=-1)
    # The lock, or the new version, can't be made: a directory stands in its place.
    (path.parent / f".{path.name}.marsys-new").mkdir()
    address = await serve()
    error = await refused("anthropic-oauth", address)
    assert "can't be kept" in error.message
    assert fake.exchanges == 0
    (path.parent / f".{path.name}.marsys-new").rmdir()
    assert await ask("anthropic-oauth", address) == "Paris."


@pytest.mark.parametrize("spare", [b"", bytes(5000)])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_a_killed_writer_left_is_finished(
    provider: str, spare: bytes, serve: Any, fake: OAuthFake, home: Path
) -> None:
    """Killed after the new version was whole and before it took the file's place."""
    path = log_in(fake, provider, home / FILES[provider], lifetime=-1)
    kind, held = KINDS[provider], read_file(KINDS[provider], path)
    tokens = fake.grant(provider == "openai-oauth")
    document = json.loads(json.dumps(held.document))
    kind.renew(document, Grant(**tokens), time.time())
    left = path.with_name(f".{path.name}.marsys-new")
    written(left, document)
    left.write_bytes(left.read_bytes() + spare)
    assert await ask(provider, await serve()) == "Paris."
    assert (fake.exchanges, fake.reused) == (0, 0)
    assert not left.exists()
    assert json.loads(path.read_bytes()) == document


@pytest.mark.parametrize("content", [b"", bytes(70_000), b'{"tokens": {"access', b"{}", b"[]"])
async def test_what_a_killed_writer_had_only_begun_is_nothing(
    content: bytes, serve: Any, fake: OAuthFake, home: Path
) -> None:
    path = fake.codex_login(home / FILES["openai-oauth"], lifetime=-1)
    left = path.with_name(f".{path.name}.marsys-new")
    left.write_bytes(content)
    assert await ask("openai-oauth", await serve()) == "Paris."
    assert fake.exchanges == 1
    assert not left.exists()


def test_what_is_older_than_the_file_is_not_recovered(fake: OAuthFake, tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    left = fake.codex_login(path.with_name(".auth.json.marsys-new"))
    os.utime(left, (1, 1))
    fake.codex_login(path)
    before = path.read_bytes()
    recover(CODEX, path)
    assert path.read_bytes() == before


def test_a_reader_never_sees_a_part(fake: OAuthFake, tmp_path: Path) -> None:
    path = fake.codex_login(tmp_path / "auth.json")
    stop = threading.Event()
    seen = 0

    def read() -> None:
        nonlocal seen
        while not stop.is_set():
            json.loads(path.read_bytes())
            seen += 1

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        document = read_file(CODEX, path).document
        document["filler"] = "x" * (number % 7 * 5000)
        with Replacement(CODEX, path) as replacement:
            replacement.commit(document)
    stop.set()
    reader.join()
    assert seen > 10
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_mounted_file_is_written_over(
    fake: OAuthFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fake.codex_login(tmp_path / "auth.json")
    inode = path.stat().st_ino

    def busy(*_: Any) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    with Replacement(CODEX, path) as replacement:
        replacement.commit({"tokens": {"access_token": "x"}})
    assert json.loads(path.read_text()) == {"tokens": {"access_token": "x"}}
    assert path.stat().st_ino == inode
