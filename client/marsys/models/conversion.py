"""The Python API's dicts and exceptions to and from the contract, for who serves it himself.

Models that are held in the caller's own process speak the same API as those behind a service, by
the same conversions: `build_request` makes the request of a call's arguments, `harmonize` the
answer, `to_exception` the error.
"""

from __future__ import annotations

from marsys.models._errors import timed_out, to_exception
from marsys.models._facts import log_warning
from marsys.models._request import build_request
from marsys.models.response import HarmonizedResponse, harmonize

__all__ = [
    "HarmonizedResponse",
    "build_request",
    "harmonize",
    "log_warning",
    "timed_out",
    "to_exception",
]
