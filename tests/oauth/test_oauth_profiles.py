"""OAuthService, the order in which a login is looked for, and who may name what."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from oauth_fake import CANARY, OAuthFake
from test_oauth_calls import FILES
from test_oauth_refresh import ask, refused

from api_service.oauth.kinds import KINDS
from api_service.oauth.logins import Logins
from api_service.oauth.profile_store import ProfileEntry, ProfileStore
from api_service.oauth.profiles import Profiles
from api_service.oauth.refresher import Refresher
from api_service.oauth.service import LoginProfiles
from api_service.settings import ApiSettings
from api_service.target import Targets
from marsys.rpc.status import from_rpc_error
from marsys.v1 import (
    AddProfileRequest,
    ErrorReason,
    GenerateRequest,
    GetProfileRequest,
    ListProfilesRequest,
    ProfileState,
    ProviderTarget,
    RefreshProfileRequest,
    RemoveProfileRequest,
    SetDefaultProfileRequest,
)
from marsys.v1.oauth_service_pb2_grpc import OAuthServiceStub
from serving.errors import ServiceError
from serving.generator import Call

CODEX, CLAUDE = "openai-oauth", "anthropic-oauth"
LOCAL = Call("id", "ipv4:127.0.0.1:40000", None, False)
REMOTE = Call("id", "ipv4:10.0.0.7:40000", None, False)
S = ProfileState


async def failing(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> OAuthServiceStub:
    return OAuthServiceStub(channel)


async def test_a_profile_from_its_adding_to_its_removal(
    stub: Any, fake: OAuthFake, home: Path
) -> None:
    path = fake.codex_login(home / "work" / "auth.json")
    request = AddProfileRequest(
        provider=CODEX, name="work", credentials_path=str(path), description="at work"
    )
    added = (await stub.AddProfile(request)).profile
    assert (added.name, added.provider, added.description) == ("work", CODEX, "at work")
    assert (added.state, added.account) == (S.PROFILE_STATE_VALID, "jo@example.com")
    assert not added.is_default
    assert added.HasField("expire_time")
    store = home / ".marsys" / "credentials.json"
    assert store.stat().st_mode & 0o777 == 0o600
    assert CANARY not in store.read_text()
    listed = (await stub.ListProfiles(ListProfilesRequest())).profiles
    assert list(listed) == [added]
    assert not (await stub.ListProfiles(ListProfilesRequest(provider=CLAUDE))).profiles
    await stub.SetDefaultProfile(SetDefaultProfileRequest(provider=CODEX, name="work"))
    got = (await stub.GetProfile(GetProfileRequest(provider=CODEX))).profile
    assert (got.name, got.is_default) == ("work", True)
    before = fake.exchanges
    await stub.RefreshProfile(RefreshProfileRequest(provider=CODEX, name="work"))
    assert fake.exchanges == before + 1
    await stub.RemoveProfile(RemoveProfileRequest(provider=CODEX, name="work"))
    assert path.exists()
    got = (await stub.GetProfile(GetProfileRequest(provider=CODEX))).profile
    assert (got.name, got.state) == ("", S.PROFILE_STATE_MISSING)
    assert json.loads(store.read_text())["defaults"] == {}


async def test_states(stub: Any, fake: OAuthFake, home: Path) -> None:
    path = fake.claude_login(home / "c.json")
    request = AddProfileRequest(provider=CLAUDE, name="c", credentials_path=str(path))
    await stub.AddProfile(request)

    async def state() -> Any:
        return (await stub.GetProfile(GetProfileRequest(provider=CLAUDE, name="c"))).profile

    assert (await state()).account == "max subscription"
    fake.claude_login(path, lifetime=-10)
    assert (await state()).state == S.PROFILE_STATE_EXPIRED
    fake.refuse = 400, {"error": "invalid_grant"}
    error = await failing(stub.RefreshProfile(RefreshProfileRequest(provider=CLAUDE, name="c")))
    assert error.reason == ErrorReason.ERROR_REASON_AUTHENTICATION_FAILED
    gone = await state()
    assert gone.state == S.PROFILE_STATE_REVOKED
    assert "claude login" in gone.problem
    path.write_text("{}")
    assert (await state()).state == S.PROFILE_STATE_MALFORMED
    path.chmod(0o644)
    broken = await state()
    assert broken.state == S.PROFILE_STATE_MALFORMED
    assert "chmod 600" in broken.problem
    path.unlink()
    assert (await state()).state == S.PROFILE_STATE_MISSING


@pytest.mark.parametrize(
    ("request_", "field", "reason"),
    [
        (AddProfileRequest(provider="openai", name="x"), "provider", "INVALID_REQUEST"),
        (AddProfileRequest(provider=CODEX), "name", "INVALID_REQUEST"),
        (AddProfileRequest(provider=CODEX, name="../x"), "name", "INVALID_REQUEST"),
        (AddProfileRequest(provider=CODEX, name=".."), "name", "INVALID_REQUEST"),
        (AddProfileRequest(provider=CODEX, name="x" * 65), "name", "INVALID_REQUEST"),
        (AddProfileRequest(provider=CODEX, name="taken"), "name", "CONFLICT"),
        (AddProfileRequest(provider=CLAUDE, name="x"), "", "AUTHENTICATION_FAILED"),
        (
            AddProfileRequest(provider=CODEX, name="x", credentials_path="auth.json"),
            "credentials_path",
            "INVALID_REQUEST",
        ),
        (
            AddProfileRequest(provider=CODEX, name="x", credentials_path="/a\0b"),
            "credentials_path",
            "INVALID_REQUEST",
        ),
        (
            AddProfileRequest(provider=CODEX, name="x", description="two\nlines"),
            "description",
            "INVALID_REQUEST",
        ),
        (GetProfileRequest(), "provider", "INVALID_REQUEST"),
        (GetProfileRequest(provider=CODEX, name="nobody"), "name", "NOT_FOUND"),
        (GetProfileRequest(provider=CLAUDE, name="taken"), "name", "NOT_FOUND"),
        (RemoveProfileRequest(provider=CODEX, name="nobody"), "name", "NOT_FOUND"),
        (RemoveProfileRequest(provider=CODEX), "name", "INVALID_REQUEST"),
        (SetDefaultProfileRequest(provider=CODEX, name="nobody"), "name", "NOT_FOUND"),
        (SetDefaultProfileRequest(provider=CLAUDE, name="taken"), "name", "NOT_FOUND"),
        (RefreshProfileRequest(provider=CODEX, name="nobody"), "name", "NOT_FOUND"),
        (ListProfilesRequest(provider="openai"), "provider", "INVALID_REQUEST"),
    ],
)
async def test_bad_requests(
    request_: Any, field: str, reason: str, stub: Any, fake: OAuthFake, home: Path
) -> None:
    fake.codex_login(home / FILES[CODEX])
    await stub.AddProfile(AddProfileRequest(provider=CODEX, name="taken"))
    before = (home / ".marsys" / "credentials.json").read_text()
    method = getattr(stub, type(request_).__name__.removesuffix("Request"))
    error = await failing(method(request_))
    assert ErrorReason.Name(error.reason) == f"ERROR_REASON_{reason}"
    assert error.field == field
    assert (home / ".marsys" / "credentials.json").read_text() == before


async def test_the_order_in_which_a_login_is_looked_for(
    serve: Any, fake: OAuthFake, home: Path
) -> None:
    """Path of the call, profile of the call, default profile, variable, the CLI's own place."""
    places = {name: home / f"{name}.json" for name in ("path", "profile", "default", "variable")}
    places["home"] = home / FILES[CLAUDE]
    for path in places.values():
        fake.claude_login(path)
    tokens = {
        name: json.loads(path.read_text())["claudeAiOauth"]["accessToken"]
        for name, path in places.items()
    }
    address = await serve(environ={"CLAUDE_AUTH_PATH": str(places["variable"])})
    store = ProfileStore(home / ".marsys" / "credentials.json")

    async def used(**keys: Any) -> str:
        await ask(CLAUDE, address, **keys)
        shown = fake.seen[-1][1]["Authorization"].removeprefix("Bearer ")
        return next(name for name, token in tokens.items() if token == shown)

    assert await used() == "variable"
    for name in ("profile", "default"):
        store.add(ProfileEntry(name, CLAUDE, str(places[name]), "", is_default=False))
    assert await used() == "variable"  # a profile is nobody's default by itself
    store.set_default(CLAUDE, "default")
    assert await used() == "default"
    assert await used(oauth_profile="profile") == "profile"
    path = str(places["path"])
    assert await used(oauth_profile="profile", credentials_path=path) == "path"
    assert await used(credentials_path="~/path.json") == "path"
    places["default"].unlink()  # nobody falls back to a login that he didn't choose
    assert "there is no login" in (await refused(CLAUDE, address)).message
    store.remove(CLAUDE, "default")
    assert await used() == "variable"
    address = await serve(environ={"CLAUDE_CONFIG_DIR": str(home / "moved")})
    error = await refused(CLAUDE, address)
    assert f"{home}/moved/.credentials.json" in error.message
    address = await serve()
    assert await used() == "home"
    for keys in ({"oauth_profile": "nobody"}, {"oauth_profile": "x/y"}):
        error = await refused(CLAUDE, address, **keys)
        assert (error.reason, error.field) == ("NOT_FOUND", "target.oauth_profile")
    store.add(ProfileEntry("other", CODEX, path, "", is_default=False))
    assert (await refused(CLAUDE, address, oauth_profile="other")).reason == "NOT_FOUND"


async def test_the_python_api_takes_paths(serve: Any, fake: OAuthFake, home: Path) -> None:
    from marsys.models import BaseAPIModel

    path = fake.codex_login(home / "some where" / "auth.json")
    model = BaseAPIModel(CODEX, "gpt-5.3-codex", credentials_path=path, target=await serve())
    assert (await model.run("Hi"))["content"] == "Paris."


def finder(home: Path, **settings: Any) -> Targets:
    told = ApiSettings(oauth_providers=[CODEX], **settings)
    store = ProfileStore(home / "profiles.json")
    environ = {"HOME": str(home)}
    logins = Logins(told.oauth_providers, store, Refresher(), environ, told.credentials_dirs)
    return Targets(told, environ, logins=logins)


def asking(path: str) -> GenerateRequest:
    target = ProviderTarget(credentials_path=path)
    return GenerateRequest(model=f"{CODEX}/gpt-5", target=target)


def test_a_remote_caller_names_no_path(home: Path) -> None:
    targets = finder(home)
    assert targets.resolve(asking("/etc/passwd"), LOCAL).login.path == Path("/etc/passwd")
    for path in ("/etc/passwd", "~/.codex/auth.json", str(home)):
        with pytest.raises(ServiceError) as caught:
            targets.resolve(asking(path), REMOTE)
        assert caught.value.error.reason == ErrorReason.ERROR_REASON_NOT_ALLOWED
        assert caught.value.error.field == "target.credentials_path"


@pytest.mark.parametrize("settings", [{"allow_loopback_callers": False}])
def test_callers_behind_a_proxy_are_remote(settings: Any, home: Path) -> None:
    with pytest.raises(ServiceError):
        finder(home, **settings).resolve(asking("/etc/passwd"), LOCAL)


def test_a_listed_directory(home: Path) -> None:
    inside = home / "logins"
    inside.mkdir()
    (inside / "out").symlink_to(home / "secret.json")
    (home / "secret.json").touch()
    (home / "way-in").symlink_to(inside)
    targets = finder(home, credentials_dirs=[home / "way-in"])
    for good in (f"{inside}/a.json", f"{home}/way-in/a.json", "~/logins/b/../a.json"):
        found = targets.resolve(asking(good), REMOTE).login
        assert found.path == (inside / "a.json").resolve()
    for bad in (f"{inside}/../secret.json", f"{inside}/out", f"{home}/logins2/a", "~/secret.json"):
        with pytest.raises(ServiceError) as caught:
            targets.resolve(asking(bad), REMOTE)
        assert caught.value.error.reason == ErrorReason.ERROR_REASON_NOT_ALLOWED
    for bad in ("auth.json", "~root/x", "", "/a\0b", "/" + "x" * 5000):
        if bad:
            with pytest.raises(ServiceError) as caught:
                targets.resolve(asking(bad), REMOTE)
            assert caught.value.error.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST


class Peer:
    """A call's context, of a caller somewhere else."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self.status: Any = None

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> None:
        return None

    async def abort_with_status(self, status: Any) -> None:
        self.status = status
        raise grpc.aio.AbortError


@pytest.mark.parametrize("allowed", [False, True])
async def test_who_may_manage_profiles(allowed: bool, fake: OAuthFake, home: Path) -> None:
    fake.codex_login(home / FILES[CODEX])
    environ = {"HOME": str(home)}
    store = ProfileStore(home / "profiles.json")
    logins = Logins([CODEX], store, Refresher(), environ, [])
    targets = Targets(ApiSettings(), environ, logins=logins)
    service = LoginProfiles(Profiles(store, logins, environ), logins, targets.trusts, allowed)
    requests = [
        ListProfilesRequest(),
        GetProfileRequest(provider=CODEX),
        AddProfileRequest(provider=CODEX, name="a"),
        AddProfileRequest(provider=CODEX, name="b", credentials_path=str(home / FILES[CODEX])),
        SetDefaultProfileRequest(provider=CODEX, name="a"),
        RemoveProfileRequest(provider=CODEX, name="a"),
    ]
    refused = []
    for request in requests:
        method = getattr(service, type(request).__name__.removesuffix("Request"))
        peer: Any = Peer(REMOTE.peer)
        try:
            await method(request, peer)
        except grpc.aio.AbortError:
            refused.append(request)
            assert peer.status.code == grpc.StatusCode.PERMISSION_DENIED
        await method(request, Peer(LOCAL.peer)) if not allowed else None
    # Where managing is allowed, naming any path of the machine still isn't.
    assert refused == ([requests[3]] if allowed else requests)


async def test_profiles_that_two_programs_add_at_once(fake: OAuthFake, home: Path) -> None:
    store = home / "p.json"
    store.write_text('{"version": 1, "future": [1], "profiles": {"old": {"provider": "x"}}}')

    def add(number: int) -> None:
        path = str(home / FILES[CODEX])
        ProfileStore(store).add(ProfileEntry(f"p{number}", CODEX, path, "", is_default=False))

    await asyncio.gather(*(asyncio.to_thread(add, number) for number in range(20)))
    held = json.loads(store.read_text())
    assert len(held["profiles"]) == 21
    assert held["future"] == [1]


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"profiles": 7, "defaults": []}'])
async def test_a_broken_store(content: str, serve: Any, fake: OAuthFake, home: Path) -> None:
    fake.codex_login(home / FILES[CODEX])
    store = home / ".marsys" / "credentials.json"
    store.parent.mkdir()
    store.write_text(content)
    address = await serve()
    if content.startswith('{"profiles"'):
        assert await ask(CODEX, address) == "Paris."
        return
    error = await refused(CODEX, address)
    assert str(store) in error.message
    assert store.read_text() == content
    # Who names a path needs no store.
    assert await ask(CODEX, address, credentials_path=f"~/{FILES[CODEX]}") == "Paris."


def test_settings_of_logins() -> None:
    for bad in (
        {"oauth_providers": ["openai"]},
        {"providers": {CODEX: {"api_key": "k"}}},
        {"providers": {CODEX: {"token_url": "http://example.com/token"}}},
        {"providers": {"openai": {"token_url": "https://example.com/token"}}},
    ):
        with pytest.raises(ValueError, match=r"provider|https|oauth"):
            ApiSettings(**bad)
    assert set(KINDS) == {CODEX, CLAUDE}
