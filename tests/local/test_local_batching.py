"""The engine: requests join, leave and fail at any step, and none of them notices another."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_runs import Run, generate_alone, is_tie, settle, start
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor

from local_inference_service.engine import Engine, EngineFull, EngineStopped
from local_inference_service.engine._cache_layers import KeysAndValues
from local_inference_service.output import Output
from local_inference_service.sampling import SamplingParams
from marsys.v1 import FinishReason

SAMPLED = SamplingParams(temperature=1.0, top_p=0.9, seed=7)
TOKEN_BYTES = 2 * 2 * 1 * 32 * 4  # of the tiny model: layers, keys and values, heads, size, float32


@pytest.fixture(scope="module")
def tiny_model(tiny_directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float32).eval()


@pytest.fixture
def engine(tiny_model: Any) -> Iterator[Engine]:
    engine = Engine(tiny_model, [], max_active=8, max_queued=100)
    yield engine
    engine.close()


def prompt(length: int, seed: int = 0) -> list[int]:
    random_ = random.Random(seed)
    return [random_.randrange(200) for _ in range(length)]


def check_alone(model: Any, run: Run, ids: list[int], length: int) -> None:
    """Assert that a greedy run got what it gets by itself."""
    tokens = run.wait()
    alone = generate_alone(model, ids, length)
    assert tokens == alone or is_tie(model, ids, alone, tokens)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    requests=st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 30), st.sampled_from(("end", "cancel"))),
        min_size=1,
        max_size=14,
    ),
    max_active=st.integers(1, 6),
    budget=st.sampled_from((None, 700 * TOKEN_BYTES, 1500 * TOKEN_BYTES)),
    prefixes=st.sampled_from((0, 200 * TOKEN_BYTES)),
)
def test_any_coming_and_going(
    tiny_model: Any,
    requests: list[tuple[int, int, str]],
    max_active: int,
    budget: int | None,
    prefixes: int,
) -> None:
    engine = Engine(tiny_model, [], max_active, 100, budget, prefixes)
    try:
        runs = []
        for number, (length, tokens, end) in enumerate(requests):
            ids = prompt(length, number % 3)
            run = start(engine, ids, tokens)
            if end == "cancel":
                run.on_output = lambda output, run=run: engine.cancel(run.job)
            runs.append((run, ids, tokens, end))
        for run, ids, tokens, end in runs:
            if end == "end":
                check_alone(tiny_model, run, ids, tokens)
        settle(engine)
        assert engine._batch.nbytes == 0
    finally:
        engine.close()


def test_a_seed_gives_the_same_whatever_runs_beside(engine: Engine) -> None:
    alone = start(engine, prompt(20), 30, SAMPLED).wait()
    others = [start(engine, prompt(5 + 7 * n, n), 40) for n in range(5)]
    again = start(engine, prompt(20), 30, SAMPLED)
    others += [start(engine, prompt(30, n), 10, SamplingParams(temperature=2.0)) for n in range(5)]
    assert again.wait() == alone
    different = start(engine, prompt(20), 30, SamplingParams(temperature=1.0, top_p=0.9, seed=8))
    assert different.wait() != alone
    for run in others:
        run.wait()


class Only(LogitsProcessor):
    """Lets one token through, and remembers the ids that it was told."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.seen: list[int] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.seen = input_ids[0].tolist()
        allowed = torch.full_like(scores, float("-inf"))
        allowed[:, self.token] = 0
        return allowed


class Broken(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such rule")


def test_processors_belong_to_one_request(engine: Engine, tiny_model: Any) -> None:
    seven, nine = Only(7), Only(9)
    runs = [
        start(engine, prompt(10), 5, processors=[seven]),
        start(engine, prompt(10), 5),
        start(engine, prompt(12), 5, SAMPLED, processors=[nine]),
        start(engine, prompt(10), 5, processors=[Broken()]),
    ]
    assert runs[0].wait() == [7] * 5
    assert seven.seen == prompt(10) + [7] * 4
    check_alone(tiny_model, runs[1], prompt(10), 5)
    assert runs[2].wait() == [9] * 5
    runs[3].ended.wait(60)
    assert isinstance(runs[3].error, KeyError)


@pytest.mark.parametrize("turned", [False, True])
def test_a_request_that_gives_nonsense_fails_alone(tiny_model: Any, turned: bool) -> None:
    """Its keys and values are no numbers either; whoever gets its place must not see them."""
    poison = 256
    weights = tiny_model.get_input_embeddings().weight
    kept = weights[poison].clone()
    engine = Engine(tiny_model, [], max_active=3, max_queued=10)
    with torch.no_grad():
        weights[poison] = float("nan")
    try:
        asked = [prompt(9, 1), [poison, *prompt(40)], prompt(14, 2)]
        asked = asked[::-1] if turned else asked
        runs = [start(engine, ids, 12) for ids in asked]
        later = start(engine, prompt(20, 3), 25)
        for run, ids in zip(runs, asked, strict=True):
            if poison in ids:
                run.ended.wait(60)
                assert isinstance(run.error, ArithmeticError)
            else:
                check_alone(tiny_model, run, ids, 12)
        check_alone(tiny_model, later, prompt(20, 3), 25)
    finally:
        engine.close()
        with torch.no_grad():
            weights[poison] = kept


def test_where_memory_is_short_the_youngest_wait(tiny_model: Any) -> None:
    # Room for two requests of this length, not for six.
    engine = Engine(tiny_model, [], 8, 100, kv_cache_bytes=2 * (60 + 2 * 128) * TOKEN_BYTES)
    most = 0

    def watch(output: Output) -> None:
        nonlocal most
        most = max(most, engine._batch.nbytes)

    try:
        runs = [start(engine, prompt(20 + n, n), 30, on_output=watch) for n in range(6)]
        sampled = start(engine, prompt(20), 30, SAMPLED, on_output=watch)
        for n, run in enumerate(runs):
            check_alone(tiny_model, run, prompt(20 + n, n), 30)
        put_off = sampled.wait()
        assert most <= 2 * (60 + 2 * 128) * TOKEN_BYTES
    finally:
        engine.close()
    roomy = Engine(tiny_model, [], 8, 100)
    assert start(roomy, prompt(20), 30, SAMPLED).wait() == put_off
    roomy.close()


def test_a_request_over_the_memory_fails_and_the_others_go_on(tiny_model: Any) -> None:
    engine = Engine(tiny_model, [], 8, 100, kv_cache_bytes=300 * TOKEN_BYTES)
    try:
        small = start(engine, prompt(10), 20)
        large = start(engine, prompt(200), 20)
        check_alone(tiny_model, small, prompt(10), 20)
        large.ended.wait(60)
        assert isinstance(large.error, MemoryError)
        check_alone(tiny_model, start(engine, prompt(11), 5), prompt(11), 5)
        settle(engine)
    finally:
        engine.close()


def test_a_device_that_runs_full_gets_fewer_requests_at_a_time(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(tiny_model, [], 8, 100)
    forward = tiny_model.forward

    def with_little_memory(input_ids: torch.Tensor, **kwargs: Any) -> Any:
        if input_ids.shape[0] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(input_ids=input_ids, **kwargs)

    monkeypatch.setattr(tiny_model, "forward", with_little_memory)
    try:
        runs = [start(engine, prompt(10 + n, n), 15) for n in range(8)]
        got = [run.wait() for run in runs]
    finally:
        engine.close()
    monkeypatch.undo()
    assert "out of memory" in caplog.text
    for n, tokens in enumerate(got):
        alone = generate_alone(tiny_model, prompt(10 + n, n), 15)
        assert tokens == alone or is_tie(tiny_model, prompt(10 + n, n), alone, tokens)


def test_a_device_that_runs_full_while_one_joins_fails_that_one(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store of some layers has grown by then, and that of others hasn't."""
    grown: list[KeysAndValues] = []  # the layers whose store has got a third row
    move = KeysAndValues.move

    def with_little_memory(self: KeysAndValues, slots: int, columns: int, start: int) -> None:
        if slots == 3:
            grown.append(self)
            if len(grown) == 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
        move(self, slots, columns, start)

    engine = Engine(tiny_model, [], 8, 100)
    monkeypatch.setattr(KeysAndValues, "move", with_little_memory)
    try:
        runs = [start(engine, prompt(10 + n, n), 40) for n in range(5)]
        for run in runs:
            run.ended.wait(60)
    finally:
        engine.close()
    failed = [n for n, run in enumerate(runs) if run.error is not None]
    assert failed == [2]
    assert isinstance(runs[2].error, torch.OutOfMemoryError)
    for n in (0, 1, 3, 4):
        check_alone(tiny_model, runs[n], prompt(10 + n, n), 40)


def test_what_was_read_before_is_not_read_again(tiny_model: Any) -> None:
    engine = Engine(tiny_model, [], 4, 100, None, prefix_cache_bytes=400 * TOKEN_BYTES)

    def ask(ids: list[int], length: int = 10) -> int | None:
        run = start(engine, ids, length)
        check_alone(tiny_model, run, ids, length)
        return run.outputs[-1].cached

    try:
        first = prompt(100)
        assert ask(first) == 0
        assert ask(first) == 99  # the last token is always read, to tell the next one
        assert ask(first[:50] + prompt(30, 5)) == 50
        answer = start(engine, first, 10).wait()
        # All but the last token of the answer was read as well.
        assert ask(first + answer + prompt(20, 6)) == 109
        assert ask([*prompt(10, 8), *first]) == 0  # it begins differently
        for n in range(10, 14):
            ask(prompt(90, n))
        assert ask(first) == 0  # others have taken its place
        assert engine._prefixes.nbytes <= 400 * TOKEN_BYTES
    finally:
        engine.close()
    assert engine._prefixes.nbytes == 0


def test_cancelled_requests_leave_at_once(engine: Engine, tiny_model: Any) -> None:
    runs = [start(engine, prompt(10 + n, n), 150) for n in range(20)]
    for run in runs[::2]:
        engine.cancel(run.job)
    for n in range(1, 20, 2):
        check_alone(tiny_model, runs[n], prompt(10 + n, n), 150)
    settle(engine)
    assert not any(run.ended.is_set() for run in runs[::2])


def test_waiting_requests_are_bounded_and_a_cancelled_one_makes_room(tiny_model: Any) -> None:
    engine = Engine(tiny_model, [], max_active=1, max_queued=2)
    try:
        running = start(engine, prompt(5), 200)
        waiting = [start(engine, prompt(5), 5) for _ in range(2)]
        with pytest.raises(EngineFull):
            start(engine, prompt(5), 5)
        engine.cancel(waiting[0].job)
        instead = start(engine, prompt(6), 5)
        engine.cancel(running.job)
        check_alone(tiny_model, waiting[1], prompt(5), 5)
        check_alone(tiny_model, instead, prompt(6), 5)
    finally:
        engine.close()


def test_closing_fails_what_runs_and_what_waits(tiny_model: Any) -> None:
    engine = Engine(tiny_model, [], max_active=2, max_queued=10)
    runs = [start(engine, prompt(5), 200) for _ in range(6)]
    engine.close()
    for run in runs:
        assert run.ended.is_set()
        assert isinstance(run.error, EngineStopped)
    with pytest.raises(EngineStopped):
        start(engine, prompt(5), 5)
    engine.close()


def test_a_long_prompt_lets_others_generate_meanwhile(engine: Engine) -> None:
    came: list[str] = []
    short = start(engine, prompt(5), 40, on_output=lambda output: came.append("short"))
    long = start(engine, prompt(5000), 2, on_output=lambda output: came.append("long"))
    short.wait()
    long.wait()
    assert came.index("long") > 5


def test_endings(tiny_model: Any) -> None:
    ids = prompt(12)
    answer = generate_alone(tiny_model, ids, 20)
    end = next(at for at in range(1, 20) if answer[at] not in answer[:at])
    engine = Engine(tiny_model, [answer[end]], max_active=4, max_queued=4)
    try:
        ended, cut = start(engine, ids, 20), start(engine, ids, end)
        ended.wait()
        cut.wait()
    finally:
        engine.close()
    last = ended.outputs[-1]
    assert (last.finish, last.raw_finish) == (FinishReason.FINISH_REASON_STOP, "eos")
    assert last.tokens == end + 1
    last = cut.outputs[-1]
    assert (last.finish, last.raw_finish) == (FinishReason.FINISH_REASON_LENGTH, "length")
    assert last.tokens == end


@pytest.mark.slow
def test_200_prompts_of_a_real_model(embedded_directory: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(embedded_directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(embedded_directory)
    words = Path(__file__).read_text().split()
    random_ = random.Random(4)
    asked = []
    for _ in range(200):
        text = " ".join(random_.choices(words, k=random_.randint(1, 60)))
        turn = [{"role": "user", "content": f"Go on: {text}"}]
        ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
        asked.append((ids, random_.randint(2, 24)))
    engine = Engine(model, [], max_active=16, max_queued=200, prefix_cache_bytes=64 << 20)
    try:
        runs = [start(engine, ids, length) for ids, length in asked]
        got = [run.wait() for run in runs]
    finally:
        engine.close()
    ties = 0
    for (ids, length), tokens in zip(asked, got, strict=True):
        alone = generate_alone(model, ids, length)
        if tokens != alone:
            ties += 1
            assert is_tie(model, ids, alone, tokens)
    assert ties <= 2
