"""The two kinds of login: whose they are, where they are kept, how they are refreshed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from api_service.oauth.claude import read_claude, renew_claude
from api_service.oauth.codex import read_codex, renew_codex
from api_service.oauth.credentials import Credentials, Grant, JsonObject


@dataclass(frozen=True, slots=True)
class LoginKind:
    """A kind of login.

    Attributes:
        provider: the provider that takes it.
        program: the CLI that makes it.
        arguments: what makes the CLI log in.
        install: how to install the CLI.
        path_env: environment variable that names its file.
        home_env: environment variable that moves the CLI's directory.
        home: the CLI's directory beneath the user's home.
        file_name: its file in that directory.
        token_url: the provider's token endpoint (RFC 6749, 3.2).
        client_id: the public client that logins are made for.
        notice: what whoever turns it on must know.
        read: the login that a file's JSON holds, and when the file was written -> the login;
            ValueError where it holds none.
        renew: puts new tokens into a file's JSON, at a time in seconds since the epoch.
    """

    provider: str
    program: str
    arguments: tuple[str, ...]
    install: str
    path_env: str
    home_env: str
    home: str
    file_name: str
    token_url: str
    client_id: str
    notice: str
    read: Callable[[JsonObject, float], Credentials]
    renew: Callable[[JsonObject, Grant, float], None]

    @property
    def command(self) -> str:
        """What a person runs to log in."""
        return " ".join((self.program, *self.arguments))

    def default_path(self, environ: Mapping[str, str]) -> Path:
        """Where the login is that nobody named: its variable, else where the CLI keeps it."""
        named = environ.get(self.path_env, "").strip()
        if named:
            return expanded(named, environ)
        moved = environ.get(self.home_env, "").strip()
        directory = expanded(moved, environ) if moved else user_home(environ) / self.home
        return directory / self.file_name


def user_home(environ: Mapping[str, str]) -> Path:
    """The home directory of whoever runs this process."""
    home = environ.get("HOME", "")
    return Path(home) if home else Path.home()


def expanded(path: str, environ: Mapping[str, str]) -> Path:
    """A path whose leading "~/" is the home directory."""
    return user_home(environ) / path[2:] if path.startswith("~/") else Path(path)


CODEX = LoginKind(
    provider="openai-oauth",
    program="codex",
    arguments=("login",),
    install="npm install -g @openai/codex",
    path_env="CODEX_AUTH_PATH",
    home_env="CODEX_HOME",
    home=".codex",
    file_name="auth.json",
    token_url="https://auth.openai.com/oauth/token",  # noqa: S106
    client_id="app_EMoamEEZ73f0CkXaXp7hrann",
    notice="openai-oauth: whether OpenAI's terms cover this use of a ChatGPT subscription is not "
    "for this project to say. Read them for your own use.",
    read=read_codex,
    renew=renew_codex,
)

CLAUDE = LoginKind(
    provider="anthropic-oauth",
    program="claude",
    arguments=("login",),
    install="npm install -g @anthropic-ai/claude-code",
    path_env="CLAUDE_AUTH_PATH",
    home_env="CLAUDE_CONFIG_DIR",
    home=".claude",
    file_name=".credentials.json",
    token_url="https://platform.claude.com/v1/oauth/token",  # noqa: S106
    client_id="9d1c250a-e61b-44d9-88ed-5944d1962f5e",
    notice="anthropic-oauth: this is no official way to call the provider and may break its terms "
    "of service. Use it at your own risk.",
    read=read_claude,
    renew=renew_claude,
)

KINDS: Mapping[str, LoginKind] = MappingProxyType({kind.provider: kind for kind in (CODEX, CLAUDE)})
"""The kinds of login, by their provider."""
