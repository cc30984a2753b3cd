"""Calls over a bad network: what is repeated, waited for and spread; large messages; TLS."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from client_scripted import ScriptedService, events_of, text

from marsys.agents.exceptions import ModelAPIError, ModelConfigurationError, ModelTimeoutError
from marsys.models import BaseAPIModel, BaseLocalModel
from marsys.v1 import ErrorReason, GenerateResponse, ModelError, StreamGenerateResponse
from marsys.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)

PNG = b"\x89PNG\r\n\x1a\n"
MIB = 1024 * 1024


class Flaky(InferenceServiceServicer):
    """Fails with UNAVAILABLE `failures` times, as something between here and a service would.

    Attributes:
        calls: how many calls came.
        headers: whether the failing calls send their headers first.
        events: events that the failing calls send first.
    """

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls = 0
        self.headers = False
        self.events = 0

    def Generate(self, request: Any, context: Any) -> GenerateResponse:
        self._fail(context)
        response = GenerateResponse()
        response.message.parts.add().text.text = "Hi"
        return response

    def StreamGenerate(self, request: Any, context: Any) -> Iterator[StreamGenerateResponse]:
        events = events_of(text("Hi"))
        if self.failures and self.events:
            yield StreamGenerateResponse(events=events[: self.events])
        self._fail(context)
        yield StreamGenerateResponse(events=events)

    def _fail(self, context: Any) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            if self.headers:
                context.send_initial_metadata(())
                time.sleep(0.3)  # what arrives together, gRPC takes for an answer without headers
            context.abort(grpc.StatusCode.UNAVAILABLE, "the proxy has no upstream")


Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(
        servicer: InferenceServiceServicer,
        address: str = "127.0.0.1:0",
        credentials: grpc.ServerCredentials | None = None,
    ) -> int:
        server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        add_InferenceServiceServicer_to_server(servicer, server)
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


def asked(model: Any, how: str) -> str:
    """The model's answer, asked for in one of the ways there are."""
    if how == "run":
        return str(model.run("x")["content"])
    if how == "arun":
        return str(asyncio.run(model.arun("x"))["content"])
    if how == "stream":
        return "".join(chunk["content"] for chunk in model.stream("x"))

    async def read() -> str:
        return "".join([chunk["content"] async for chunk in model.stream("x")])

    return asyncio.run(read())


WAYS = pytest.mark.parametrize("how", ["run", "arun", "stream", "astream"])


@WAYS
def test_unavailable_before_any_header_is_repeated(serve: Serve, how: str):
    flaky = Flaky(failures=2)
    model = BaseAPIModel("openai", "m", target=f"127.0.0.1:{serve(flaky)}")
    assert asked(model, how) == "Hi"
    assert flaky.calls == 3


def test_but_not_for_ever(serve: Serve):
    flaky = Flaky(failures=100)
    model = BaseAPIModel("openai", "m", target=f"127.0.0.1:{serve(flaky)}")
    with pytest.raises(ModelAPIError) as caught:
        model.run("x")
    assert caught.value.grpc_code == "UNAVAILABLE"
    assert caught.value.is_retryable
    assert flaky.calls == 5


@WAYS
def test_after_the_headers_nothing_is_repeated(serve: Serve, how: str):
    flaky = Flaky(failures=1)
    flaky.headers = True
    model = BaseAPIModel("openai", "m", target=f"127.0.0.1:{serve(flaky)}")
    with pytest.raises(ModelAPIError):
        asked(model, how)
    assert flaky.calls == 1


@pytest.mark.parametrize("how", ["stream", "astream"])
@pytest.mark.parametrize("events", [1, 3])
def test_a_stream_that_has_delivered_is_never_repeated(serve: Serve, how: str, events: int):
    flaky = Flaky(failures=1)
    flaky.events = events
    model = BaseAPIModel("openai", "m", target=f"127.0.0.1:{serve(flaky)}")
    with pytest.raises(ModelAPIError) as caught:
        asked(model, how)
    assert caught.value.grpc_code == "UNAVAILABLE"
    assert flaky.calls == 1


@WAYS
def test_what_the_service_itself_says_is_not_repeated(service: ScriptedService, how: str):
    for reason in ("SERVICE_UNAVAILABLE", "NETWORK_ERROR", "EMPTY_COMPLETION"):
        service.replies.clear()
        service.requests.clear()
        service.fail(ModelError(reason=ErrorReason.Value(f"ERROR_REASON_{reason}"), message="no"))
        with pytest.raises(ModelAPIError) as caught:
            asked(BaseAPIModel("openai", "m", target=service.address), how)
        assert caught.value.reason == reason
        assert len(service.requests) == 1


@WAYS
def test_a_service_that_shuts_down_hands_over(service: ScriptedService, how: str):
    service.fail(ModelError(reason=ErrorReason.ERROR_REASON_SHUTTING_DOWN, message="bye"))
    service.say(text("Hi"))
    assert asked(BaseAPIModel("openai", "m", target=service.address), how) == "Hi"


@WAYS
def test_a_service_that_is_just_starting_is_waited_for(serve: Serve, how: str):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    late = threading.Timer(0.7, serve, (Flaky(), f"127.0.0.1:{port}"))
    late.start()
    assert asked(BaseAPIModel("openai", "m", target=f"127.0.0.1:{port}"), how) == "Hi"
    late.join()


def test_a_model_that_is_loading_is_waited_for_within_the_timeout(service: ScriptedService):
    loading = ModelError(reason=ErrorReason.ERROR_REASON_MODEL_LOADING, message="wait")
    service.fail(loading)
    service.say(text("Hi"))
    assert BaseLocalModel("m", target=service.address, timeout=60).run("x")["content"] == "Hi"
    service.replies.clear()
    service.fail(loading)
    with pytest.raises(ModelTimeoutError):
        BaseLocalModel("m", target=service.address, timeout=0.3).run("x")


@WAYS
def test_where_no_service_is_the_error_comes_without_a_timeout(how: str):
    with socket.socket() as taken:  # bound, and listens not: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ModelAPIError, match=f"no service answers at {address}"):
            asked(BaseAPIModel("openai", "m", target=address), how)


@pytest.mark.parametrize("how", ["run", "arun", "stream"])
def test_large_messages_both_ways(service: ScriptedService, tmp_path: Path, how: str):
    size = 60 * MIB
    service.say(text("y" * size), whole=True)
    picture = tmp_path / "large.png"
    picture.write_bytes(PNG + bytes(size))
    content = [{"type": "image_url", "image_url": {"url": str(picture)}}]
    messages = [{"role": "user", "content": content}]
    model = BaseAPIModel("openai", "m", target=service.address)
    if how == "run":
        answer = model.run(messages)
    elif how == "arun":
        answer = asyncio.run(model.arun(messages))
    else:
        stream = model.stream(messages)
        for _ in stream:
            pass
        answer = stream.response
    assert len(answer["content"]) == size
    media = service.requests[0].messages[0].parts[0].media
    assert (media.media_type, len(media.data)) == ("image/png", size + len(PNG))


class Names:
    """A DNS server: every name has these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = [socket.inet_aton(address) for address in addresses]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                query, caller = self._socket.recvfrom(4096)
            except OSError:
                return
            end = query.index(b"\0", 12) + 5
            kind = struct.unpack("!H", query[end - 4 : end - 2])[0]
            found = self._addresses if kind == 1 else []
            answer = query[:2] + b"\x84\x00" + struct.pack("!HHHH", 1, len(found), 0, 0)
            answer += query[12:end]
            for address in found:
                answer += b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + address
            with suppress(OSError):
                self._socket.sendto(answer, caller)


@pytest.fixture
def names() -> Iterator[Names]:
    served = Names("127.0.0.1", "127.0.0.2")
    yield served
    served.close()


def test_dns_targets_use_every_address_in_turn(serve: Serve, names: Names):
    replicas = [Flaky(), Flaky()]
    port = serve(replicas[0])
    try:
        serve(replicas[1], f"127.0.0.2:{port}")
    except RuntimeError:
        pytest.skip("this machine has no 127.0.0.2, or the port is taken there")
    target = f"dns://127.0.0.1:{names.port}/models.test:{port}"
    model = BaseAPIModel("openai", "m", target=target)
    while not all(replica.calls for replica in replicas):
        model.run("x")  # until both are connected
    before = [replica.calls for replica in replicas]
    for _ in range(10):
        model.run("x")
    after = [replica.calls for replica in replicas]
    assert [b - a for a, b in zip(before, after, strict=True)] == [5, 5]


async def test_dns_targets_go_on_with_the_replicas_that_are_left(serve: Serve, names: Names):
    replica = Flaky()
    port = serve(replica)  # nobody listens on the other address
    model = BaseAPIModel("openai", "m", target=f"dns://127.0.0.1:{names.port}/models.test:{port}")
    answers = await asyncio.gather(*(model.arun("x") for _ in range(10)))
    assert {answer["content"] for answer in answers} == {"Hi"}
    assert replica.calls == 10


@pytest.fixture
def certificates(tmp_path: Path) -> Any:
    """PEM files: authority, a caller's certificate and key; and a server's credentials."""
    authority = trustme.CA()
    server, caller = authority.issue_cert("localhost"), authority.issue_cert("ann@example.com")
    files = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    caller.cert_chain_pems[0].write_to_path(files["cert"])
    caller.private_key_pem.write_to_path(files["key"])
    credentials = grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())],
        root_certificates=authority.cert_pem.bytes(),
        require_client_auth=True,
    )
    return files, credentials


@pytest.mark.parametrize("given", ["arguments", "environment"])
def test_a_service_that_asks_for_certificates_of_callers(serve, certificates, monkeypatch, given):
    files, credentials = certificates
    target = f"https://localhost:{serve(Flaky(), 'localhost:0', credentials)}"
    arguments = {f"tls_{name}_file": path for name, path in files.items()}
    with pytest.raises(ModelAPIError):
        BaseAPIModel("openai", "m", target=target, tls_ca_file=files["ca"]).run("x")
    if given == "environment":
        for name, path in arguments.items():
            monkeypatch.setenv(f"MARSYS_{name.upper()}", path)
        arguments = {}
    model = BaseAPIModel("openai", "m", target=target, **arguments)
    assert asked(model, "run") == asked(model, "arun") == "Hi"
    assert asked(BaseLocalModel("m", target=target, **arguments), "stream") == "Hi"


def test_certificates_that_can_not_be_used(certificates, monkeypatch):
    files, _ = certificates

    def field_of(target: str, **arguments: str) -> str:
        with pytest.raises(ModelConfigurationError) as caught:
            BaseAPIModel("openai", "m", target=target, **arguments)
        return caught.value.field

    secure = "https://localhost"
    assert field_of(secure, tls_cert_file=files["cert"]) == "tls_key_file"
    assert field_of(secure, tls_key_file=files["key"]) == "tls_cert_file"
    assert field_of(secure, tls_ca_file="/none.pem") == "tls_ca_file"
    assert field_of("localhost:1", tls_ca_file=files["ca"]) == "tls_ca_file"
    monkeypatch.setenv("MARSYS_TLS_KEY_FILE", "/none.pem")
    assert field_of(secure) == "MARSYS_TLS_KEY_FILE"
    BaseAPIModel("openai", "m", target="localhost:1")  # what the environment says waits for TLS


class Cable:
    """Carries bytes to a server until it is cut, silently.

    Attributes:
        port: where it takes connections.
        cut: set it, and nothing is carried any more, while all connections stay open.
    """

    def __init__(self, to: int) -> None:
        self.cut = threading.Event()
        self._to = to
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._server, *self._open):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near = self._server.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.cut.is_set():
                    sink.sendall(data)
        except OSError:
            return


@pytest.mark.slow
def test_a_peer_that_is_gone_without_a_word_is_noticed(service: ScriptedService):
    service.hang(after=events_of(text("Hi there"))[:3])
    cable = Cable(int(service.address.rpartition(":")[2]))
    stream = BaseAPIModel("openai", "m", target=f"127.0.0.1:{cable.port}").stream("x")
    assert next(stream)["content"] == "Hi "
    cable.cut.set()
    with pytest.raises(ModelAPIError) as caught:
        next(stream)
    assert caught.value.grpc_code == "UNAVAILABLE"
    cable.close()
