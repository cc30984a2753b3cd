"""Every ErrorReason has a meaning, and goes over the wire and back without loss."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from marsys.rpc.reasons import meaning, reason_name
from marsys.rpc.status import code_of, to_status
from marsys.v1 import ErrorReason, ModelError

PROTO = Path(__file__).parents[2] / "proto/marsys/v1/error.proto"
REASONS = [value for value in ErrorReason.values() if value]


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_every_reason_has_a_meaning_of_its_own(reason):
    known = meaning(reason)
    assert reason_name(reason) == "UNKNOWN" or known is not meaning(
        ErrorReason.ERROR_REASON_UNKNOWN
    )
    assert known.action
    assert known.code is not grpc.StatusCode.OK


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_the_documented_status_code_is_the_one_used(reason):
    # The contract's comment on a reason ends with its status code.
    comments = PROTO.read_text()
    before = comments.split(f"ERROR_REASON_{reason_name(reason)} =")[0]
    comment = before.rsplit(";", 1)[-1]
    assert code_of(ModelError(reason=reason)).name in comment


def test_a_reason_of_a_later_version_is_unknown():
    assert meaning(9999) is meaning(ErrorReason.ERROR_REASON_UNKNOWN)  # type: ignore[arg-type]


def test_an_error_is_whole_in_its_status():
    error = ModelError(
        reason=ErrorReason.ERROR_REASON_RATE_LIMIT,
        message="slow down",
        provider="p",
        http_status=429,
    )
    error.retry_after.FromMilliseconds(1500)
    status = to_status(error, "req-1")
    found = ModelError()
    assert any(detail.Unpack(found) for detail in status.details)
    assert found == error
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
