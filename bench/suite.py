"""A run of the suite: starts the systems, measures every case, and gives the results."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.calls import CHUNKS, DELAY_MS
from bench.cases import WORKERS, Case
from bench.client import measure_client
from bench.load import Load
from bench.machine import describe
from bench.peers import SERVICE, TWO_WORKERS, Peer, Server, ServerPeer, Setup, Subject
from bench.results import Results
from bench.rounds import measure
from bench.startup import measure_startup
from bench.upstream import upstream


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long.

    Attributes:
        peers: the systems; api_service is one of them.
        cases: how they are called.
        rounds: how often each is measured in each case.
        seconds: how long one measurement takes, about.
        client, workers: whether the Python client and several workers are measured too.
        installs: where peers are installed.
    """

    peers: Sequence[Peer]
    cases: Sequence[Case]
    rounds: int
    seconds: float
    client: bool
    workers: bool
    installs: Path


def run(plan: Plan) -> Results:
    """Measure.

    A peer that can't be installed or started, or fails in a case, is left out and named in
    `missing`.

    Raises:
        RuntimeError: api_service, the fake provider or the load generator does not run.
    """
    results = Results(machine=describe(), settings={"rounds": plan.rounds, "seconds": plan.seconds})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        setup = Setup(
            stack.enter_context(upstream(CHUNKS, DELAY_MS)), Load(folder), folder, plan.installs
        )
        peers = _installed(plan, results)
        subjects = _started(peers, setup, stack, results)
        for case in plan.cases:
            _say(f"{case.title}:")
            results.cases[case.key] = measure(case, subjects, plan.rounds, plan.seconds)
            for key, rounds in results.cases[case.key].items():
                if rounds.failed:
                    if key == SERVICE.key:
                        raise RuntimeError(rounds.failed)
                    name = f"{results.titles[key]}, {case.title}"
                    results.missing[name] = rounds.failed.partition("\n")[0].strip()
        if plan.workers:
            _measure_workers(plan, setup, subjects, results)
        if plan.client:
            _say("the Python client and the bare stub")
            addresses = {
                key: subject.address
                for key, subject in subjects.items()
                if isinstance(subject, Server)
            }
            share = min(plan.seconds / 2, 1)
            results.client = measure_client(addresses, plan.rounds, share)
    _measure_startup(plan, peers, results)
    return results


def _installed(plan: Plan, results: Results) -> list[Peer]:
    found = []
    for peer in plan.peers:
        try:
            results.versions[peer.key] = peer.install(plan.installs)
        except RuntimeError as error:
            _leave_out(peer, error, results)
        else:
            results.titles[peer.key] = peer.title
            found.append(peer)
    return found


def _started(
    peers: Sequence[Peer], setup: Setup, stack: ExitStack, results: Results
) -> dict[str, Subject]:
    subjects: dict[str, Subject] = {}
    for peer in peers:
        own = setup.folder / peer.key
        own.mkdir()
        try:
            subjects[peer.key] = stack.enter_context(peer.running(replace(setup, folder=own)))
        except RuntimeError as error:
            _leave_out(peer, error, results)
    return subjects


def _leave_out(peer: Peer, error: RuntimeError, results: Results) -> None:
    if peer.key == SERVICE.key:
        raise error
    results.missing[peer.key] = str(error)
    _say(f"{peer.title} is left out: {error}")


def _measure_workers(
    plan: Plan, setup: Setup, subjects: Mapping[str, Subject], results: Results
) -> None:
    """One worker and two, on each transport that is measured."""
    _say(f"{WORKERS.title}:")
    with ExitStack() as stack:
        found: dict[str, Subject] = {}
        for key, two in TWO_WORKERS.items():
            if key not in subjects:
                continue
            own = setup.folder / two.key
            own.mkdir()
            results.titles[two.key] = two.title
            found[key] = subjects[key]
            found[two.key] = stack.enter_context(two.running(replace(setup, folder=own)))
        results.cases[WORKERS.key] = measure(WORKERS, found, plan.rounds, plan.seconds)


def _measure_startup(plan: Plan, peers: Sequence[Peer], results: Results) -> None:
    """With nothing else running, so that starts don't share the processor."""
    _say("starts")
    servers = [
        peer for peer in peers if isinstance(peer, ServerPeer) and peer.key not in results.missing
    ]
    with tempfile.TemporaryDirectory() as name, upstream(CHUNKS, DELAY_MS) as provider:
        setup = Setup(provider, Load(Path(name)), Path(name), plan.installs)
        results.startup = measure_startup(servers, setup, min(plan.rounds, 3))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
