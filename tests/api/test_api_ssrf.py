"""Where a caller's base URL may lead. Names are judged by what they resolve to, when it is used."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from api_raw_upstream import RawUpstream, whole
from api_upstream import Caller, Serve, Upstream, ask, completion, reply

from api_service.proxies import Proxies
from api_service.settings import ApiSettings
from api_service.target import Targets
from marsys.v1 import ErrorReason
from serving.base_url import allowed_by, check_allowed_url, check_base_url
from serving.errors import ServiceError
from serving.generator import Call
from serving.reach import Reach, is_within

REMOTE = Call("id", "ipv4:203.0.113.7:40000", None, False)
LOCAL = Call("id", "ipv4:127.0.0.1:40000", None, False)

Names = dict[str, list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Names that resolve to what a test says."""
    known: Names = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        if host not in known:
            return real(host, port, *args, **options)
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


@pytest.mark.parametrize(
    ("address", "network", "public"),
    [
        ("93.184.215.14", True, True),
        ("2606:4700::1111", True, True),
        ("10.0.0.1", True, False),
        ("172.16.0.1", True, False),
        ("192.168.1.1", True, False),
        ("100.64.0.1", True, False),
        ("127.0.0.1", True, False),
        ("127.9.9.9", True, False),
        ("::1", True, False),
        ("fd12::1", True, False),
        ("::ffff:10.0.0.1", True, False),
        ("::ffff:93.184.215.14", True, True),
        ("64:ff9b::5db8:d70e", True, True),
        ("64:ff9b::a00:1", True, False),
        # Never, whoever asks.
        ("169.254.169.254", False, False),
        ("169.254.0.1", False, False),
        ("100.100.100.200", False, False),
        ("168.63.129.16", False, False),
        ("fe80::1", False, False),
        ("fe80::1%eth0", False, False),
        ("fd00:ec2::254", False, False),
        ("fec0::1", False, False),
        ("0.0.0.0", False, False),
        ("0.1.2.3", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("::169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:a9fe:a9fe::1", False, False),
    ],
)
def test_addresses(address: str, network: bool, public: bool) -> None:
    assert is_within(address, Reach.ANY)
    assert is_within(address, Reach.NETWORK) is network
    assert is_within(address, Reach.PUBLIC) is public


async def remote(serve: Serve, **settings: Any) -> Caller:
    """A client whom the service does not take for a local one."""
    return await serve(allow_loopback_callers=False, **settings)


async def refused(caller: Caller, base_url: str, stream: bool = False) -> None:
    request = ask("m", target={"baseUrl": base_url, "apiKey": "sk-callers-own"})
    error = await caller.failure(request, stream)
    assert error.reason == ErrorReason.ERROR_REASON_NOT_ALLOWED
    assert error.field == "target.base_url"
    assert not error.retryable
    assert len(error.attempts) <= 1
    assert "169.254" not in error.message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost.", "[::1]", "evil.example"])
async def test_patterns_lead_to_public_addresses_only(
    serve: Serve, wire: RawUpstream, names: Names, host: str, stream: bool
) -> None:
    names |= {"evil.example": ["127.0.0.1"], "localhost.": ["127.0.0.1"]}
    port = wire.url.split(":")[2].removesuffix("/v1")
    caller = await remote(serve, allow_base_urls=[f"http://*:{port}"])
    await refused(caller, f"http://{host}:{port}/v1", stream)
    assert wire.connections == 0


@pytest.mark.parametrize("order", [1, -1])
async def test_a_name_with_one_bad_address_is_refused(
    serve: Serve, wire: RawUpstream, names: Names, order: int
) -> None:
    names["two.example"] = ["127.0.0.1", "169.254.169.254"][::order]
    port = wire.url.split(":")[2].removesuffix("/v1")
    caller = await serve()  # a local caller, who may reach 127.0.0.1
    await refused(caller, f"http://two.example:{port}/v1")
    assert wire.connections == 0


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "224.0.0.1", "::ffff:a9fe:a9fe"],
)
@pytest.mark.parametrize("by_name", [False, True])
async def test_link_local_and_the_like_are_refused_even_to_local_callers(
    serve: Serve, names: Names, address: str, by_name: bool
) -> None:
    names["metadata.example"] = [address]
    literal = f"[{address}]" if ":" in address else address
    caller = await serve()
    await refused(caller, f"http://{'metadata.example' if by_name else literal}/latest")


@pytest.mark.parametrize("bad_first", [False, True])
async def test_a_name_that_changes_its_meaning(
    serve: Serve,
    upstream: Upstream,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
    bad_first: bool,
) -> None:
    """What is judged is what is connected to: the name is not looked up in between."""
    first, then = "127.0.0.1", "169.254.169.254"
    if bad_first:
        first, then = then, first
    names["rebind.example"] = [first]
    looked_up = 0
    known = socket.getaddrinfo

    def rebinding(host: Any, *args: Any, **options: Any) -> Any:
        nonlocal looked_up
        found = known(host, *args, **options)
        if host == "rebind.example":
            looked_up += 1
            names["rebind.example"] = [then]
        return found

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    upstream.script(reply(200, completion("judged")))
    url = upstream.url.replace("127.0.0.1", "rebind.example")
    caller = await serve()
    if bad_first:
        await refused(caller, url)
    else:
        answer = await caller.generate(ask("m", target={"baseUrl": url}))
        assert answer.message.parts[0].text.text == "judged"
    assert looked_up == 1


async def test_local_callers_and_listed_urls_reach_this_machine(
    serve: Serve, upstream: Upstream, names: Names
) -> None:
    names["vllm.internal"] = ["127.0.0.1"]
    upstream.script(reply(200, completion("here")))
    by_name = upstream.url.replace("127.0.0.1", "vllm.internal")
    for caller in (await serve(), await remote(serve, allow_base_urls=[upstream.url, by_name])):
        for url in (upstream.url, by_name):
            answer = await caller.generate(ask("m", target={"baseUrl": url}))
            assert answer.message.parts[0].text.text == "here"


async def test_the_operators_own_providers_are_trusted(
    serve: Serve, upstream: Upstream, names: Names
) -> None:
    names["mine.internal"] = ["127.0.0.1"]
    url = upstream.url.replace("127.0.0.1", "mine.internal")
    caller = await remote(serve, providers={"mine": {"base_url": url}})
    upstream.script(reply(200, completion("mine")))
    assert (await caller.generate(ask("mine/m"))).message.parts[0].text.text == "mine"


async def test_unlisted_urls_are_not_even_looked_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await remote(serve, allow_base_urls=["https://llm.example.com/v1"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up"))
    await refused(caller, "http://other.example/v1")


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/v1", "http://0x7f000001/v1", "http://0177.0.0.1/v1", "http://127.1/v1",
        "http://0/v1", "http://127.0.0.0x1/v1", "http://127.0.0.1./v1", "http://[fe80::1%25lo]/v1",
        "http://[::1/v1", "http://[::g]/v1", "http://a@127.0.0.1/v1", "http://127.0.0.1:/v1",
        "http://127.0.0.1:080/v1", "http://１２７.0.0.1/v1", "http://ⓛocalhost/v1",
        "http://a..b/v1", "http://.a/v1", "http://a_b%2ec/v1", "http://*/v1", "gopher://a/v1",
        "file:///etc/passwd", "//a/v1", "http:a/v1", "HTTP//a", "http://a/v1/..",
    ],
)  # fmt: skip
async def test_urls_that_can_be_read_in_two_ways(serve: Serve, url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_base_url(url)
    error = await (await serve()).failure(ask("m", target={"baseUrl": url}))
    assert error.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST
    assert error.field == "target.base_url"


@pytest.mark.parametrize(
    "url",
    ["http://[::1]:8000/v1", "http://127.0.0.1:8000", "https://a-b.example_c.com./v1", "http://h"],
)
def test_plain_urls(url: str) -> None:
    assert check_base_url(url) == url
    assert check_base_url(url + "/") == url


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("https://*.example.com", "https://a.example.com/v1", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://A.Example.COM.", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com", "https://a.example.com.evil.net", False),
        ("https://*.example.com", "https://a.example.com:8443", False),
        ("https://*.example.com", "http://a.example.com", False),
        ("https://*.example.com/v1", "https://a.example.com/v2", False),
        ("https://*", "https://anything.net/v1", True),
        ("https://*:8443", "https://anything.net:8443/v1", True),
        ("https://*", "http://anything.net/v1", False),
    ],
)
def test_patterns(entry: str, url: str, allowed: bool) -> None:
    assert (allowed_by(check_base_url(url), [check_allowed_url(entry)]) is not None) is allowed


@pytest.mark.parametrize(
    "entry", ["https://*evil.com", "https://a.*.com", "*", "https://**", "ftp://*", "https://*."]
)
def test_malformed_patterns_are_refused_at_start(entry: str) -> None:
    with pytest.raises(ValueError, match="allow_base_urls"):
        ApiSettings(allow_base_urls=[entry])


def test_a_listed_host_is_trusted_more_than_a_pattern() -> None:
    made = Targets(ApiSettings(allow_base_urls=["http://*", "http://vllm.internal"]), {})
    for call, url, reach in (
        (REMOTE, "http://vllm.internal/v1", Reach.NETWORK),
        (REMOTE, "http://other.internal/v1", Reach.PUBLIC),
        (LOCAL, "http://other.internal/v1", Reach.NETWORK),
    ):
        assert made.resolve(ask("m", target={"baseUrl": url}), call).reach is reach


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("stream", [False, True])
async def test_redirects_are_not_followed(
    serve: Serve, upstream: Upstream, wire: RawUpstream, status: int, stream: bool
) -> None:
    wire.script(whole(b"{}"))
    there = wire.url.replace("http://", "http://user:sk-secret@") + "/x?key=sk-secret"
    upstream.script(reply(status, {}, {"Location": there}))
    caller = await serve(providers={"acme": {"base_url": upstream.url}})
    error = await caller.failure(ask("acme/m"), stream)
    assert error.reason == ErrorReason.ERROR_REASON_MALFORMED_RESPONSE
    assert "redirect" in error.message
    assert "sk-secret" not in str(error)
    assert wire.connections == 0
    assert len(upstream.seen) == 1


async def test_an_image_url_is_handed_on_and_never_fetched(
    caller: Caller, upstream: Upstream, wire: RawUpstream
) -> None:
    wire.script(whole(b"canary", "image/png"))
    image = {"media": {"mediaType": "image/png", "uri": f"{wire.url}/canary.png"}}
    message = {"role": "ROLE_USER", "parts": [image]}
    upstream.script(reply(200, completion("a bird")))
    await caller.generate(ask("openrouter/m", messages=[message]))
    assert f"{wire.url}/canary.png" in str(upstream.seen[0].body)
    assert wire.connections == 0


PROXY = {
    "HTTPS_PROXY": "http://proxy:3128",
    "http_proxy": "http://proxy:3129",
    "NO_PROXY": "localhost, .internal, 10.0.0.0/8, vllm:8000",
}


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://api.openai.com/v1", "http://proxy:3128"),
        ("http://api.openai.com/v1", "http://proxy:3129"),
        ("http://localhost:8000/v1", None),
        ("https://a.internal/v1", None),
        ("https://ainternal/v1", "http://proxy:3128"),
        ("http://10.1.2.3/v1", None),
        ("http://11.1.2.3/v1", "http://proxy:3129"),
        ("http://vllm:8000/v1", None),
        ("http://vllm:8001/v1", "http://proxy:3129"),
    ],
)
def test_proxies(url: str, proxy: str | None) -> None:
    assert Proxies(PROXY).proxy_for(url) == proxy
    assert Proxies({}).proxy_for(url) is None
    assert Proxies({**PROXY, "NO_PROXY": "*"}).proxy_for(url) is None


async def test_proxies_are_used_only_where_the_operator_says_so(
    serve: Serve, wire: RawUpstream, names: Names
) -> None:
    body = str(completion("by proxy")).replace("'", '"').encode()
    wire.script(whole(body))
    environ = {"HTTP_PROXY": wire.url.removesuffix("/v1")}
    names["far.example"] = ["127.0.0.1"]
    providers = {"far": {"base_url": "http://far.example:1/v1"}}
    straight = await serve(providers=providers, environ=environ)
    error = await straight.failure(ask("far/m", policy={"maxAttempts": 1}))
    assert error.reason == ErrorReason.ERROR_REASON_NETWORK_ERROR
    assert not wire.requests
    proxied = await serve(providers=providers, environ=environ, proxy_from_environment=True)
    answer = await proxied.generate(ask("far/m"))
    assert answer.message.parts[0].text.text == "by proxy"
    assert wire.requests[0].startswith(b"POST http://far.example:1/v1/chat/completions ")


async def test_a_proxy_is_no_way_to_link_local_addresses(serve: Serve, wire: RawUpstream) -> None:
    environ = {"HTTP_PROXY": wire.url.removesuffix("/v1")}
    caller = await serve(environ=environ, proxy_from_environment=True)
    await refused(caller, "http://169.254.169.254/latest")
    assert wire.connections == 0


def test_refusal_is_typed() -> None:
    with pytest.raises(ServiceError) as caught:
        Targets(ApiSettings(), {}).resolve(ask("m", target={"baseUrl": "http://h"}), REMOTE)
    assert caught.value.error.reason == ErrorReason.ERROR_REASON_NOT_ALLOWED
