"""Several processes of a service on one port."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from e2e_services import Service, wait_until
from grpc_health.v1 import health_pb2, health_pb2_grpc

pytestmark = pytest.mark.slow

Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Service] = []

    def make(*arguments: str, **environment: str) -> Service:
        folder = tmp_path / f"service-{len(started)}"
        service = Service("api_service", folder, *arguments, environment=environment)
        started.append(service)
        return service

    yield make
    for service in started:
        service.stop()


def workers_of(service: Service) -> list[psutil.Process]:
    return psutil.Process(service.process.pid).children()


def check(address: str, timeout: float = 20) -> int:
    """Ask for the service's health on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        status: int = stub.Check(request, timeout=timeout, wait_for_ready=True).status
        return status


def test_connections_are_spread(start: Start) -> None:
    service = start("--workers", "2").wait_ready()
    pids = {worker.pid for worker in workers_of(service)}
    assert len(pids) == 2
    port = int(service.address.rpartition(":")[2])
    open_ones = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    try:
        taken: Counter[int] = Counter()

        def all_taken() -> bool:
            taken.clear()
            for pid in pids:
                for connection in psutil.Process(pid).net_connections("tcp"):
                    if connection.status == psutil.CONN_ESTABLISHED:
                        taken[pid] += 1
            return sum(taken.values()) >= 40

        wait_until(all_taken)
        assert set(taken) == pids  # by chance all on one: once in 2**39
    finally:
        for connection in open_ones:
            connection.close()


def test_a_worker_that_died_is_started_again(start: Start) -> None:
    service = start("--workers", "2").wait_ready()
    first, second = (worker.pid for worker in workers_of(service))
    os.kill(first, signal.SIGKILL)
    assert check(service.address) == health_pb2.HealthCheckResponse.SERVING

    def pids() -> set[int]:
        return {worker.pid for worker in workers_of(service)}

    wait_until(lambda: len(pids()) == 2 and first not in pids())
    assert second in pids()
    assert f"status {-signal.SIGKILL}" in service.log()
    wait_until(lambda: service.log().count("INFO serving.server [-] serving on") == 3)
    assert service.stop() == 0


def test_workers_end_with_their_parent(start: Start) -> None:
    service = start("--workers", "2", "--grace", "0").wait_ready()
    workers = workers_of(service)
    service.process.kill()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def test_running_calls_end_before_the_workers(start: Start) -> None:
    service = start("--workers", "2", "--grace", "20").wait_ready()
    with grpc.insecure_channel(service.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        states = iter(watch)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        workers = workers_of(service)
        service.process.send_signal(signal.SIGTERM)
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
    assert service.process.wait(20) == 0
    assert not any(worker.is_running() for worker in workers)
    assert service.log().rstrip().endswith("stopped")


def test_asked_twice_it_ends_at_once(start: Start) -> None:
    service = start("--workers", "2", "--grace", "600").wait_ready()
    workers = workers_of(service)
    os.kill(workers[0].pid, signal.SIGSTOP)  # it can't end by itself
    ended = threading.Thread(target=service.process.wait)
    ended.start()
    service.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not workers[1].is_running())
    service.process.send_signal(signal.SIGTERM)
    ended.join(20)
    assert service.process.returncode == 130
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_is_not_shared_unasked(start: Start, tmp_path: Path, workers: str) -> None:
    service = start("--workers", "2").wait_ready()
    with pytest.raises(AssertionError, match="can't listen on"):
        start("--workers", workers, "--address", service.address)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--address", "unix:/tmp/none.sock"), "workers share a TCP port"),
        (("--workers", "0"), "greater than or equal to 1"),
    ],
)
def test_what_can_not_be(start: Start, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        start("--workers", "2", *arguments)


def test_a_service_that_can_not_start_says_so_and_ends(start: Start) -> None:
    told = {"MARSYS_API_PROVIDERS": '{"mine": {"api_key": "k"}}'}  # a provider without a base URL
    with pytest.raises(AssertionError, match="mine"):
        start("--workers", "2", **told)
