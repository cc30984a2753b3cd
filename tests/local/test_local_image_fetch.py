"""Images that are fetched: only from where the operator allows it, and only so much."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme
from aiohttp import web
from image_parts import BLUE, GREEN, INVALID, NOT_ALLOWED, one, png, refused, uri

from local_inference_service.images import OF_THE_PROCESS, MediaRules
from marsys.v1 import MediaPart

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Web:
    """An HTTPS server on this machine whose certificate a client of `rules` accepts."""

    def __init__(self, port: int, plain_port: int, trust: ssl.SSLContext) -> None:
        self.url = f"https://localhost:{port}"
        self.plain = f"http://localhost:{plain_port}"
        self.trust = trust
        self.handlers: dict[str, Handler] = {}
        self.asked: list[str] = []

    def rules(self, *urls: str, **options) -> MediaRules:
        return MediaRules(allow_urls=urls or (self.url,), tls=self.trust, **options)

    def serve(self, path: str, content: bytes = b"", **options) -> MediaPart:
        async def handler(_: web.Request) -> web.Response:
            return web.Response(body=content, **options)

        self.handlers[path] = handler
        return uri(self.url + path)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return await self.handlers[request.path](request)


@pytest.fixture
async def site() -> AsyncIterator[Web]:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server_tls)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    app = web.Application()
    made: list[Web] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        return await made[0].answer(request)

    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    ports = []
    for tls in (server_tls, None):
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        ports.append(runner.addresses[-1][1])
    made.append(Web(*ports, trust))
    yield made[0]
    await runner.cleanup()


class TestAddresses:
    """Images that are fetched."""

    async def test_an_allowed_address_is_fetched(self, site):
        media = site.serve("/a.png", png(GREEN))
        assert (await one(media, site.rules())).getpixel((0, 0)) == GREEN

    async def test_an_address_may_have_a_query_and_a_fragment(self, site):
        media = site.serve("/a.png", png(GREEN))
        media.uri += "?size=2//../x%2F&a=b#part"
        assert (await one(media, site.rules())).getpixel((0, 0)) == GREEN

    async def test_nothing_is_fetched_unless_the_operator_says_so(self, site):
        media = site.serve("/a.png", png())
        for rules in (MediaRules(tls=site.trust), site.rules("https://example.com")):
            reason, field, message = await refused(media, rules)
            assert (reason, field) == (NOT_ALLOWED, "messages[1].parts[1].media.uri")
            assert "allow_image_urls" in message
        assert site.asked == []

    async def test_only_what_an_entry_names_may_lie_in_a_private_network(self, site):
        media = site.serve("/a.png", png())
        port = site.url.rpartition(":")[2]
        everywhere = MediaRules(allow_urls=None, tls=site.trust)
        for rules in (everywhere, site.rules(f"https://*:{port}")):
            for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
                media.uri = f"https://{host}:{port}/a.png"
                reason, _, _ = await refused(media, rules)
                assert reason == NOT_ALLOWED
        media.uri = f"https://127.0.0.1:{port}/a.png"
        await one(media, site.rules(f"https://127.0.0.1:{port}"))
        assert site.asked == ["/a.png"]

    @pytest.mark.parametrize(
        "host",
        ["169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "0.0.0.0", "[::1]", "192.168.1.1"],
    )
    async def test_no_address_of_a_private_network_or_of_clouds_secrets(self, host):
        for rules in (MediaRules(allow_urls=None), MediaRules(allow_urls=("https://*",))):
            reason, _, _ = await refused(uri(f"https://{host}/latest/meta-data"), rules)
            assert reason == NOT_ALLOWED

    async def test_http_is_taken_only_where_an_entry_has_it(self, site):
        site.serve("/a.png", png())
        media = uri(f"{site.plain}/a.png")
        for rules in (site.rules(site.plain.replace("http:", "https:")), OF_THE_PROCESS):
            reason, _, _ = await refused(media, rules)
            assert reason == NOT_ALLOWED
        await one(media, site.rules(site.plain))

    @pytest.mark.parametrize(
        "text",
        ["https://localhost\\@evil/a", "https://user:pw@localhost/a", "https://0x7f.1/a",
         "https://2130706433/a", "https://local host/a", "https:///a", "https://lo\tcalhost/a",
         "https://localhost:99999/a", "https://ⓛocalhost/a"],
    )  # fmt: skip
    async def test_addresses_that_could_be_read_in_two_ways(self, site, text):
        reason, _, _ = await refused(uri(text), site.rules("https://localhost"))
        assert reason in (INVALID, NOT_ALLOWED)
        assert site.asked == []

    async def test_an_entry_with_a_path_allows_what_lies_beneath(self, site):
        site.serve("/public/a.png", png())
        site.serve("/private/a.png", png())
        rules = site.rules(f"{site.url}/public")
        await one(uri(f"{site.url}/public/a.png"), rules)
        for path in ("/private/a.png", "/public/../private/a.png", "/public/%2e%2e/private/a.png"):
            reason, _, _ = await refused(uri(site.url + path), rules)
            assert reason == NOT_ALLOWED
        assert site.asked == ["/public/a.png"]

    async def test_redirects_are_judged_like_addresses(self, site):
        site.serve("/a.png", png(GREEN))
        site.serve("/there", status=302, headers={"Location": "/a.png"})
        assert (await one(uri(f"{site.url}/there"), site.rules())).getpixel((0, 0)) == GREEN
        for target in (
            f"{site.plain}/a.png",
            "http://169.254.169.254/",
            "file:///etc/passwd",
            "https://localhost:1/a.png",
        ):
            media = site.serve("/away", status=307, headers={"Location": target})
            reason, _, _ = await refused(media, site.rules())
            assert reason in (NOT_ALLOWED, INVALID)
        assert site.asked.count("/a.png") == 1

    async def test_redirects_end(self, site):
        media = site.serve("/round", status=302, headers={"Location": "/round"})
        _, _, message = await refused(media, site.rules())
        assert "redirects more than" in message
        assert len(site.asked) == 5

    async def test_a_body_is_read_only_as_far_as_is_allowed(self, site):
        async def large(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()  # without Content-Length
            await response.prepare(request)
            for _ in range(2**10):  # 64 MiB
                await response.write(bytes(2**16))
            return response

        site.handlers["/chunked"] = large
        rules = site.rules(max_bytes=2**20)
        _, _, message = await refused(uri(f"{site.url}/chunked"), rules)
        assert f"{2**20} bytes" in message
        _, _, message = await refused(site.serve("/large", bytes(2**20 + 1)), rules)
        assert f"{2**20} bytes" in message

    async def test_compressed_bodies(self, site):
        header = {"Content-Encoding": "gzip"}
        media = site.serve("/a", gzip.compress(png(BLUE)), headers=header)
        assert (await one(media, site.rules())).getpixel((0, 0)) == BLUE
        bomb = gzip.compress(bytes(2**24))
        _, _, message = await refused(
            site.serve("/bomb", bomb, headers=header), site.rules(max_bytes=2**20)
        )
        assert f"{2**20} bytes" in message
        for content in (b"nothing", gzip.compress(png())[:-20]):
            reason, _, _ = await refused(site.serve("/x", content, headers=header), site.rules())
            assert reason == INVALID

    async def test_failures_say_what_happened(self, site):
        _, _, message = await refused(site.serve("/no", status=404), site.rules())
        assert "404" in message
        _, _, message = await refused(site.serve("/page", b"<html></html>"), site.rules())
        assert "no image" in message
        media = site.serve("/a.png", png())
        _, _, message = await refused(media, MediaRules(allow_urls=(site.url,)))
        assert "certificate" in message
        _, _, message = await refused(
            uri("https://localhost:1/a"), site.rules("https://localhost:1")
        )
        assert "can't be reached" in message

    async def test_what_takes_too_long_is_given_up(self, site):
        async def hang(_: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        site.handlers["/hang"] = hang
        reason, field, message = await refused(uri(f"{site.url}/hang"), site.rules(timeout=0.3))
        assert (reason, field) == (INVALID, "messages[1].parts[1].media.uri")
        assert "0.3 seconds" in message

    async def test_cancelling_ends_a_fetch(self, site):
        begun, ended = asyncio.Event(), asyncio.Event()

        async def hang(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            begun.set()
            try:
                while True:
                    await response.write(b"x")
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        site.handlers["/hang"] = hang
        work = asyncio.ensure_future(one(uri(f"{site.url}/hang"), site.rules()))
        await begun.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await asyncio.wait_for(ended.wait(), 10)
