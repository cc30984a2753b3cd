"""Settings: where they come from, what is refused, what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError

from serving.settings import (
    ServerSettings,
    load_settings,
    secrets_of,
    settings_config,
    unknown_variables,
)


class Settings(ServerSettings):
    """Settings of a service in a test."""

    model_config = settings_config("MARSYS_TRY_")

    size: int = 3
    names: list[str] = []
    fast: bool = False
    key: SecretStr | None = None
    keys: dict[str, list[SecretStr]] = {}
    paths: list[Path] = Field(default_factory=list)


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARSYS_TOKEN", raising=False)


def test_arguments_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "settings.toml"
    file.write_text('size = 4\ngrace = 4\nlog_level = "error"\nnames = ["from", "file"]\n')
    monkeypatch.setenv("MARSYS_TRY_CONFIG", str(file))
    monkeypatch.setenv("MARSYS_TRY_SIZE", "5")
    monkeypatch.setenv("MARSYS_TRY_GRACE", "5")
    settings = load_settings(Settings, ["--size", "6", "--fast"], "try")
    assert (settings.size, settings.grace, settings.log_level) == (6, 5.0, "error")
    assert settings.names == ["from", "file"]
    assert settings.fast is True
    assert settings.max_message_bytes == 64 * 1024 * 1024


def test_lists_are_given_by_repeating_the_argument():
    settings = load_settings(Settings, ["--names", "a", "--names", "b"], "try")
    assert settings.names == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "many"], "size (MARSYS_TRY_SIZE)"),
        (["--address", "nowhere"], "address (MARSYS_TRY_ADDRESS): must be HOST:PORT"),
        (["--address", "0.0.0.0:1"], "open to other machines in plaintext"),
        (["--grace", "-1"], "grace (MARSYS_TRY_GRACE)"),
        (["--tls-cert-file", "a.pem"], "go together"),
        (["--config", "no-such-file.toml"], "no-such-file.toml"),
    ],
)
def test_wrong_settings_end_the_start_with_a_clear_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        load_settings(Settings, arguments, "try")
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_wrong_key_in_the_file_is_an_error(tmp_path: Path, capsys):
    file = tmp_path / "settings.toml"
    file.write_text("sizze = 4\n")
    with pytest.raises(SystemExit):
        load_settings(Settings, ["--config", str(file)], "try")
    assert "sizze" in capsys.readouterr().err


def test_secrets_are_no_arguments(capsys):
    with pytest.raises(SystemExit):
        load_settings(Settings, ["--key", "very-secret-1"], "try")


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "example.com:1"])
def test_an_open_address_needs_a_token_or_tls(address):
    with pytest.raises(ValidationError, match="plaintext"):
        Settings(address=address)
    assert Settings(address=address, token="abc").address == address


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:5", "localhost:5", "unix:/tmp/x"])
def test_loopback_addresses_need_nothing(address):
    assert Settings(address=address).loopback


def test_the_shared_token_is_taken_where_no_other_is_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MARSYS_TOKEN", "shared-token")
    assert Settings().token.get_secret_value() == "shared-token"
    monkeypatch.setenv("MARSYS_TRY_TOKEN", "own-token")
    assert load_settings(Settings, [], "try").token.get_secret_value() == "own-token"


def test_settings_are_shown_without_secrets(monkeypatch: pytest.MonkeyPatch):
    settings = Settings(token="canary-token", key="canary-key", size=9)
    for text in (settings.shown(), str(settings), repr(settings)):
        assert "canary" not in text
    assert "size=9" in settings.shown()


def test_every_secret_is_found():
    settings = Settings(token="secret-1", key="secret-2", keys={"a": ["secret-3"]})
    assert sorted(secrets_of(settings)) == ["secret-1", "secret-2", "secret-3"]


def test_help_names_defaults(capsys):
    with pytest.raises(SystemExit):
        load_settings(Settings, ["--help"], "try")
    text = " ".join(capsys.readouterr().out.split())
    assert "Seconds that running calls get at shutdown (default: 30.0)" in text
    assert "Undefined" not in text


def test_variables_that_name_no_setting_are_found(monkeypatch: pytest.MonkeyPatch):
    for name in ("SIZZE", "TARGET", "CONFIG", "SERVICE_HOST", "PORT_50051_TCP", "NAMES__0"):
        monkeypatch.setenv(f"MARSYS_TRY_{name}", "[]")
    assert unknown_variables(Settings(names=[])) == ["MARSYS_TRY_SIZZE"]
