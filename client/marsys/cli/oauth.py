"""`marsys oauth`: the login profiles of this machine's user, or of a running service."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.table import Table

from marsys.cli._login_program import log_in
from marsys.cli._logins import LocalLogins, Logins, ServiceLogins
from marsys.cli._terminal import dim, fail, failures
from marsys.v1 import Profile, ProfileState

_SOON = 300.0  # seconds before its end in which a token is refreshed without --force
_USABLE = (ProfileState.PROFILE_STATE_VALID, ProfileState.PROFILE_STATE_EXPIRED)

oauth = typer.Typer(
    help="Logins of providers that take a subscription's login instead of an API key. Of this "
    "machine's user, or with --target of a running service.",
    no_args_is_help=True,
)

Target = Annotated[
    str | None, typer.Option("--target", help="A running api_service, such as 127.0.0.1:50051.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Provider = Annotated[str, typer.Option("--provider", help="openai-oauth or anthropic-oauth.")]
Name = Annotated[str, typer.Argument(help="Name of the profile.")]


@oauth.command("list")
def list_profiles(
    provider: Annotated[str, typer.Option("--provider", help="Only this provider's.")] = "",
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """List the profiles."""
    with failures():
        profiles = _logins(target).list(provider)
    _print(profiles, as_json)
    if not profiles and not as_json:
        dim("no profiles; add one with: marsys oauth add NAME --provider openai-oauth")


@oauth.command()
def status(
    name: Annotated[
        str, typer.Argument(help="A profile. Default: what each provider's calls use.")
    ] = "",
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Show whether logins work. Exit status 1 where none of those shown does."""
    with failures():
        logins = _logins(target)
        if name:
            shown = [_find(logins, name)]
        else:
            shown = [logins.get(each, "") for each in ("openai-oauth", "anthropic-oauth")]
    _print(shown, as_json)
    if not any(profile.state in _USABLE for profile in shown):
        raise typer.Exit(1)


@oauth.command()
def add(
    name: Name,
    provider: Provider,
    credentials_path: Annotated[
        str | None,
        typer.Option(
            help="File of a login that there is already. Default: log in anew with the provider's "
            "CLI; of a service, where the CLI on its machine keeps its login."
        ),
    ] = None,
    set_default: Annotated[
        bool, typer.Option("--set-default", help="Make it the provider's default.")
    ] = False,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Add a profile; logs in with the provider's own CLI where no file is named."""
    with failures():
        logins = _logins(target)
        if isinstance(logins, LocalLogins):
            if provider in logins.kinds:
                dim(logins.kinds[provider].notice)
            if credentials_path is None:
                credentials_path = log_in(logins, provider, name)
            else:
                credentials_path = str(Path(credentials_path).expanduser().absolute())
        profile = logins.add(provider, name, credentials_path or "", description, set_default)
    _say(profile, as_json, f"{name} added{' as the default' if profile.is_default else ''}")


@oauth.command()
def remove(
    name: Name,
    force: Annotated[bool, typer.Option("--force", "-f", help="Don't ask.")] = False,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Remove a profile; the file of its login stays."""
    with failures():
        logins = _logins(target)
        profile = _find(logins, name)
        if not force and not typer.confirm(f"Remove {name} ({profile.provider})?", err=True):
            fail("nothing was removed")
        logins.remove(profile.provider, name)
    _say(profile, as_json, f"{name} removed; its login stays at {profile.credentials_path}")


@oauth.command("set-default")
def set_default(
    provider: Annotated[str, typer.Argument(help="openai-oauth or anthropic-oauth.")],
    name: Name,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Make a profile the one that calls use which name none."""
    with failures():
        profile = _logins(target).set_default(provider, name)
    _say(profile, as_json, f"{name} is now the default of {provider}")


@oauth.command()
def refresh(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Even where the token lasts for a while.")
    ] = False,
    token_url: Annotated[
        str | None, typer.Option(help="Token endpoint. Default: the provider's own.")
    ] = None,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Refresh a profile's access token if it ends soon."""
    if target is not None and token_url is not None:
        fail("--token-url is for this machine's logins; the service has its own setting")
    with failures():
        logins = _logins(target, token_url)
        profile = _find(logins, name)
        lasts = (
            profile.state == ProfileState.PROFILE_STATE_VALID
            and profile.HasField("expire_time")
            and profile.expire_time.seconds > time.time() + _SOON
        )
        if lasts and not force:
            _say(profile, as_json, f"{name} lasts until {_end(profile)}; --force refreshes it now")
            return
        profile = logins.refresh(profile.provider, name)
    _say(
        profile,
        as_json,
        f"{name} refreshed" + (f", until {_end(profile)}" if _end(profile) else ""),
    )


def _logins(target: str | None, token_url: str | None = None) -> Logins:
    return LocalLogins(token_url) if target is None else ServiceLogins(target)


def _find(logins: Logins, name: str) -> Profile:
    found = [profile for profile in logins.list() if profile.name == name]
    if not found:
        fail(f"there is no profile {name!r}", "Run: marsys oauth list")
    return found[0]


def _say(profile: Profile, as_json: bool, words: str) -> None:
    if as_json:
        typer.echo(json.dumps(_facts(profile), indent=2, ensure_ascii=False))
    else:
        typer.echo(words)


def _print(profiles: list[Profile], as_json: bool) -> None:
    if as_json:
        facts = [_facts(profile) for profile in profiles]
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    table = Table(
        "profile", "provider", "state", "until", "account", "file", box=None, pad_edge=False
    )
    for profile in profiles:
        name = profile.name or "-"
        table.add_row(
            f"{name} (default)" if profile.is_default else name,
            profile.provider,
            _state(profile),
            _end(profile),
            profile.account,
            profile.credentials_path,
        )
    if table.row_count:
        if not console.is_terminal:
            console.width = 10_000  # who reads a pipe wants no row cut
        console.print(table, markup=False)
    for profile in profiles:
        if profile.problem:
            dim(f"{profile.name or profile.provider}: {profile.problem}")


def _facts(profile: Profile) -> dict[str, Any]:
    facts: dict[str, Any] = MessageToDict(
        profile, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {**facts, "state": _state(profile)}


def _state(profile: Profile) -> str:
    if profile.state not in ProfileState.values() or not profile.state:
        return ""
    return ProfileState.Name(profile.state).removeprefix("PROFILE_STATE_").lower()


def _end(profile: Profile) -> str:
    if not profile.HasField("expire_time"):
        return ""
    moment = datetime.fromtimestamp(profile.expire_time.seconds).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M %Z")
