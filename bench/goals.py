"""What the gateway is held to, as ratios within one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.client import CLIENT_CASES
from bench.figures import Spread, ratios, spread
from bench.results import Results


@dataclass(frozen=True)
class Goal:
    """One figure and its bound.

    Attributes:
        title: what is compared.
        least, most: the bound; one of the two.
        measure: the figure; None where it was not measured.
        unit: of the figure; "x" for ratios.
        stretch: whether it is wished for, not held to.
    """

    title: str
    measure: Callable[[Results], Spread | None]
    least: float | None = None
    most: float | None = None
    unit: str = "x"
    stretch: bool = False

    def holds(self, found: Spread) -> bool:
        if self.least is not None:
            return found.median >= self.least
        return self.most is None or found.median <= self.most

    @property
    def bound(self) -> str:
        word, value = ("least", self.least) if self.least is not None else ("most", self.most)
        return f"at {word} {value:g}{' ' if self.unit != 'x' else ''}{self.unit}"


def _ratio(case: str, of: str, to: str) -> Callable[[Results], Spread | None]:
    return lambda results: results.ratio(case, of, to)


def _cliff(results: Results) -> Spread | None:
    pair = results.values("crowd", "marsys", "p99"), results.values("crowd", "marsys", "p50")
    return ratios(*pair) if all(pair) else None


def _workers(of: str, to: str) -> Callable[[Results], Spread | None]:
    return lambda results: results.ratio("workers", of, to, "rate")


def _startup(what: str) -> Callable[[Results], Spread | None]:
    def measure(results: Results) -> Spread | None:
        values = results.startup.get("marsys", {}).get(what)
        return spread(values) if values else None

    return measure


def _client(key: str) -> Callable[[Results], Spread | None]:
    def measure(results: Results) -> Spread | None:
        sides = results.client.get(key)
        return ratios(sides["client"], sides["stub"]) if sides else None

    return measure


_RELAY, _TENSORZERO = "grpc_aiohttp", "tensorzero"

GOALS = (
    Goal("unary CPU: LiteLLM / marsys", _ratio("unary", "litellm", "marsys"), least=22),
    Goal("unary CPU: marsys / minimal grpc.aio + aiohttp", _ratio("unary", "marsys", _RELAY),
         most=1.5),
    Goal("unary CPU: marsys / TensorZero", _ratio("unary", "marsys", _TENSORZERO), most=1.3,
         stretch=True),
    Goal("burst CPU: LiteLLM / marsys", _ratio("burst", "litellm", "marsys"), least=50),
    Goal("burst CPU: marsys / TensorZero", _ratio("burst", "marsys", _TENSORZERO), most=1,
         stretch=True),
    Goal("paced CPU: LiteLLM / marsys", _ratio("paced", "litellm", "marsys"), least=9),
    Goal("paced CPU: marsys / TensorZero", _ratio("paced", "marsys", _TENSORZERO), most=1,
         stretch=True),
    *(
        Goal(f"{case} CPU: LiteLLM / marsys, `--transport http2`",
             _ratio(case, "litellm", "marsys_http2"), least=least)
        for case, least in (("unary", 22), ("burst", 50), ("paced", 9))
    ),
    Goal("unary CPU: marsys, `--transport http2` / minimal grpc.aio + aiohttp",
         _ratio("unary", "marsys_http2", _RELAY), most=1.5),
    Goal("unary CPU: marsys, `--transport http2` / TensorZero",
         _ratio("unary", "marsys_http2", _TENSORZERO), most=1.3, stretch=True),
    Goal("burst CPU: marsys, `--transport http2` / TensorZero",
         _ratio("burst", "marsys_http2", _TENSORZERO), most=1, stretch=True),
    Goal("paced CPU: marsys, `--transport http2` / TensorZero",
         _ratio("paced", "marsys_http2", _TENSORZERO), most=1, stretch=True),
    Goal("added p50, one call at a time", lambda results: results.added("marsys"), most=1.2,
         unit="ms"),
    Goal("64 at once: p99 / p50", _cliff, most=2),
    Goal("throughput: two workers / one", _workers("marsys_2_workers", "marsys"), least=1.5),
    Goal("throughput: two workers / one, `--transport http2`",
         _workers("marsys_http2_2_workers", "marsys_http2"), least=1.5),
    *(
        Goal(f"client / stub: {case.title}", _client(case.key), most=1.5)
        for case in CLIENT_CASES
    ),
    Goal("start until the first answer", _startup("ready"), most=1.5, unit="s"),
    Goal("idle memory", _startup("rss"), most=90, unit="MB"),
)  # fmt: skip
