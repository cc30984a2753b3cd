"""Fuzzes a codec's decoder with atheris: python fuzz/fuzz_decoders.py WIRE [libFuzzer options].

WIRE is a wire protocol, such as openai_chat. The golden vectors are the corpus to begin with. It
runs until it finds bytes that break the rules of decoder_check, or for -max_total_time seconds.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["api_service.providers", "serving.event_writer"]):
    from decoder_check import check, rows

GOLDEN = Path(__file__).parents[1] / "tests" / "api" / "golden"


def seed(wire: str, corpus: Path) -> None:
    """Write the golden answers, each with the two bytes that say where to split it."""
    for path in GOLDEN.joinpath(wire).glob("*.json"):
        vector = json.loads(path.read_text())
        answer = vector.get("wire_stream") or json.dumps(vector.get("wire_response"))
        corpus.joinpath(path.stem).write_bytes(b"\x10\x80" + answer.encode())


def main() -> None:
    """Fuzz."""
    if len(sys.argv) < 2 or sys.argv[1] not in rows():
        sys.exit(f"usage: {sys.argv[0]} {{{','.join(rows())}}} [libFuzzer options]")
    wire = sys.argv.pop(1)
    row = rows()[wire]

    def one(data: bytes) -> None:
        body = data[2:]
        cuts = sorted({min(place * len(body) // 255, len(body)) for place in data[:2]})
        check(row, body, cuts)

    with tempfile.TemporaryDirectory() as corpus:
        seed(wire, Path(corpus))
        atheris.Setup([*sys.argv, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
