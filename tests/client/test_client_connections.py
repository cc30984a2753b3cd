"""Targets, tokens, TLS; channels that nobody has to close; what importing costs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import trustme
from client_scripted import ScriptedService, text

from marsys.agents.exceptions import ModelAPIError, ModelConfigurationError
from marsys.models import BaseAPIModel, BaseLocalModel
from marsys.rpc.target import parse_target
from marsys.v1 import GenerateRequest, GenerateResponse
from marsys.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)

HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.mark.parametrize(
    ("given", "address", "secure", "loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False, True),
        ("localhost:1", "localhost:1", False, True),
        ("[::1]:5", "[::1]:5", False, True),
        ("10.0.0.7:50051", "10.0.0.7:50051", False, False),
        ("models.example.com:80", "models.example.com:80", False, False),
        ("http://models.example.com:80/", "models.example.com:80", False, False),
        ("https://models.example.com", "models.example.com:443", True, False),
        ("https://models.example.com:8443", "models.example.com:8443", True, False),
        ("grpcs://models.example.com:8443", "models.example.com:8443", True, False),
        ("https://[2001:db8::1]", "[2001:db8::1]:443", True, False),
        ("dns:///models.example.com:50051", "dns:///models.example.com:50051", False, False),
        ("unix:/run/marsys.sock", "unix:/run/marsys.sock", False, True),
        ("unix:///run/marsys.sock", "unix:///run/marsys.sock", False, True),
    ],
)
def test_targets(given, address, secure, loopback):
    target = parse_target(given)
    assert (target.address, target.secure, target.loopback) == (address, secure, loopback)


@pytest.mark.parametrize(
    "given",
    ["localhost", ":50051", "host:0", "host:99999", "host:port", "ftp://host:1", "https://host/x",
     "::1:5", "unix:", "dns:///host", "https://ann:canary@host:5", "a b:5", "https://"],
)  # fmt: skip
def test_targets_that_are_none(given):
    with pytest.raises(ModelConfigurationError) as caught:
        BaseAPIModel("openai", "m", target=given)
    assert caught.value.field == "target"
    assert "canary" not in str(caught.value)


def test_where_a_target_comes_from(monkeypatch):
    def shown(cls, **arguments) -> str:
        return repr(cls(model_name="m", **arguments))

    assert "'127.0.0.1:50051'" in shown(BaseAPIModel)
    assert "'127.0.0.1:50052'" in shown(BaseLocalModel)
    monkeypatch.setenv("MARSYS_API_TARGET", "localhost:1111")
    monkeypatch.setenv("MARSYS_LOCAL_TARGET", "localhost:2222")
    assert "'localhost:1111'" in shown(BaseAPIModel)
    assert "'localhost:2222'" in shown(BaseLocalModel)
    assert "'localhost:3333'" in shown(BaseAPIModel, target="localhost:3333")
    monkeypatch.setenv("MARSYS_API_TARGET", "nonsense")
    with pytest.raises(ModelConfigurationError, match="MARSYS_API_TARGET"):
        shown(BaseAPIModel)


@pytest.mark.parametrize("secret", ["token", "api_key"])
@pytest.mark.parametrize("target", ["10.0.0.7:50051", "dns:///h.example:1", "http://h.example:1"])
def test_secrets_are_not_sent_in_plaintext_to_other_machines(secret, target, monkeypatch):
    with pytest.raises(ModelConfigurationError, match="unencrypted") as caught:
        BaseAPIModel("openai", "m", target=target, **{secret: "canary"})
    assert caught.value.field == secret
    assert "canary" not in str(caught.value)
    BaseAPIModel("openai", "m", target="https://h.example", **{secret: "canary"})
    monkeypatch.setenv("MARSYS_ALLOW_PLAINTEXT", "1")
    BaseAPIModel("openai", "m", target=target, **{secret: "canary"})


def test_a_token_of_the_environment_is_refused_too(monkeypatch):
    monkeypatch.setenv("MARSYS_TOKEN", "canary")
    with pytest.raises(ModelConfigurationError, match="unencrypted"):
        BaseLocalModel("m", target="10.0.0.7:50051")


async def test_the_token_goes_with_every_call(service: ScriptedService, monkeypatch):
    service.say(text("Hi"))
    monkeypatch.setenv("MARSYS_TOKEN", "from-env")
    for token, sent in (("given", "given"), (None, "from-env")):
        model = BaseAPIModel("openai", "m", target=service.address, token=token)
        await model.arun(HELLO)
        model.run(HELLO).result()
        _ = [chunk async for chunk in model.stream(HELLO)]
        for metadata in service.metadata:
            assert metadata["authorization"] == f"Bearer {sent}"
        assert len(service.metadata) == 3
        assert "marsys-models/" in service.metadata[0]["user-agent"]
        service.metadata.clear()


def test_no_token_no_header(service, api_model):
    service.say(text("Hi"))
    api_model.run(HELLO)
    assert "authorization" not in service.metadata[0]


def test_a_token_that_no_header_can_hold():
    with pytest.raises(ModelConfigurationError) as caught:
        BaseAPIModel("openai", "m", token="canary\nx")
    assert "canary" not in str(caught.value)


class Greeter(InferenceServiceServicer):
    def Generate(self, request: GenerateRequest, context: object) -> GenerateResponse:
        response = GenerateResponse()
        response.message.parts.add().text.text = "Hi"
        return response


@pytest.fixture
def serve():
    servers = []

    def start(address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        server = grpc.server(futures.ThreadPoolExecutor(2))
        add_InferenceServiceServicer_to_server(Greeter(), server)
        servers.append(server)
        port = (
            server.add_secure_port(address, credentials)
            if credentials
            else server.add_insecure_port(address)
        )
        server.start()
        return port

    yield start
    for server in servers:
        server.stop(0).wait()


async def test_tls(serve, tmp_path: Path, monkeypatch):
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    credentials = grpc.ssl_server_credentials(
        [(issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())]
    )
    port = serve("localhost:0", credentials)
    target = f"https://localhost:{port}"
    with pytest.raises(ModelAPIError):  # a certificate that nobody vouches for
        BaseAPIModel("openai", "m", target=target).run(HELLO).result()
    roots = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(roots))
    monkeypatch.setenv("MARSYS_TLS_CA_FILE", str(roots))
    model = BaseAPIModel("openai", "m", "key", target=target, token="token")
    assert (await model.arun(HELLO))["content"] == "Hi"
    assert model.run(HELLO)["content"] == "Hi"
    monkeypatch.setenv("MARSYS_TLS_CA_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ModelConfigurationError, match="MARSYS_TLS_CA_FILE"):
        BaseAPIModel("openai", "m", target=target)


def test_a_unix_socket(serve, tmp_path):
    address = f"unix:{tmp_path}/s"
    serve(address)
    assert BaseAPIModel("openai", "m", "key", target=address).run(HELLO)["content"] == "Hi"


def test_dns_targets_spread(serve):
    port = serve("127.0.0.1:0")
    model = BaseAPIModel("openai", "m", target=f"dns:///localhost:{port}")
    assert model.run(HELLO)["content"] == "Hi"


SCRIPT = """
import asyncio, sys
from marsys.models import BaseAPIModel
model = BaseAPIModel("openai", "m", target=sys.argv[1])
assert model.run("x")["content"] == "Hi"
async def main():
    assert (await model.arun("x"))["content"] == "Hi"
    assert (await model.run("x"))["content"] == "Hi"
asyncio.run(main())
asyncio.run(main())
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
print("done")
"""


def test_nothing_is_said_at_exit(serve):
    port = serve("127.0.0.1:0")
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, f"127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == "done\n"
    unclosed_loop = "unclosed event loop"  # the script's own, left open on purpose
    said = [line for line in result.stderr.splitlines() if unclosed_loop not in line]
    assert [line for line in said if "Exception" in line or "channel" in line.lower()] == []
    assert result.returncode == 0


def test_channels_are_shared(serve, api_model):
    from marsys.rpc.channel import loop_stubs, sync_stubs
    from marsys.rpc.connection import connect

    first = connect("127.0.0.1:1", "X", "127.0.0.1:1")
    second = connect(None, "X", "127.0.0.1:1")
    other = connect("127.0.0.1:1", "X", "", "token")

    async def check() -> object:
        stubs = await loop_stubs(first)
        assert await loop_stubs(second) is stubs
        assert await loop_stubs(other) is not stubs
        return stubs

    assert asyncio.run(check()) is not asyncio.run(check())
    assert sync_stubs(first) is sync_stubs(second)
    assert sync_stubs(first) is not sync_stubs(other)


IMPORT = """
import sys, time
start = time.perf_counter()
import marsys.models
from marsys.models import ModelConfig
took = time.perf_counter() - start
heavy = {"httpx", "aiohttp", "torch", "transformers", "orjson", "typer", "rich"}
print(took, ",".join(sorted(heavy & set(sys.modules))))
"""


def test_importing_is_light():
    def once() -> tuple[float, str]:
        result = subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        )
        took, heavy = result.stdout.rstrip("\n").split(" ")
        return float(took), heavy

    runs = [once() for _ in range(4)]
    assert {heavy for _, heavy in runs} == {""}
    assert min(took for took, _ in runs) < 0.5  # the best of some: the machine may be busy
