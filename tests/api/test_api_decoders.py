"""Every decoder: any bytes give a valid answer or a typed error, however they are split."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from api_golden import VECTORS
from decoder_check import check, rows
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
WIRES = sorted(rows())


def answers_of(wire: str) -> list[bytes]:
    """The answers of the golden vectors."""
    vectors = [json.loads(path.read_text()) for path in VECTORS if path.parent.name == wire]
    return [
        (vector.get("wire_stream") or json.dumps(vector.get("wire_response"))).encode()
        for vector in vectors
    ]


@st.composite
def spoilt(draw: st.DrawFn, wire: str) -> tuple[bytes, list[int]]:
    """An answer in which bytes were lost, doubled, changed or put in; and where it is split."""
    data = bytearray(draw(st.sampled_from(answers_of(wire))))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 40))
        piece = bytes(data[start : start + length])
        other = draw(
            st.sampled_from([b"", piece * 2, b"null", b"{}", b"[]", b'""', b"-1", b"\n\n", b"\xff"])
            | st.binary(max_size=8)
        )
        data[start : start + length] = other
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return bytes(data), cuts


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_spoilt_answers(wire: str, data: st.DataObject) -> None:
    body, cuts = data.draw(spoilt(wire))
    check(rows()[wire], body, cuts)


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes(wire: str, body: bytes, cut: int) -> None:
    check(rows()[wire], body, [min(cut, len(body))])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("wire", WIRES)
def test_fuzz_target(wire: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "fuzz/fuzz_decoders.py",
            wire,
            "-max_total_time=20",
            f"-artifact_prefix={tmp_path}/",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "Done" in done.stderr
