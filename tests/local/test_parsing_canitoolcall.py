"""The parsers against canitoolcall's fixtures, which others wrote from formats and bug reports."""

from __future__ import annotations

import runpy
from pathlib import Path

from canitoolcall.fixtures import Fixture
from canitoolcall.pytest_plugin import assert_conforms, assert_equivalent
from parsing_fixtures import SPLITS, read, splits


def test_whole(canitoolcall_fixture: Fixture) -> None:
    result = read(canitoolcall_fixture, [canitoolcall_fixture.raw_output])
    assert_conforms(canitoolcall_fixture, result, soft=True)


def test_split_anywhere(canitoolcall_fixture: Fixture) -> None:
    whole = read(canitoolcall_fixture, [canitoolcall_fixture.raw_output])
    for pieces in splits(canitoolcall_fixture.raw_output, SPLITS):
        assert_equivalent(whole, read(canitoolcall_fixture, pieces))


def test_report_is_up_to_date() -> None:
    """docs/tool-calls.md says what the run shows, and explains what isn't a pass."""
    root = Path(__file__).parents[2]
    report = runpy.run_path(str(root / "scripts" / "tool_call_report.py"))["report"]()
    assert (root / "docs" / "tool-calls.md").read_text() == report
