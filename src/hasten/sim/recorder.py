"""What happened, as flat rows: one per request, one per stretch of equal steps."""

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hasten.core.request import Request

OK: Final = 0
REJECTED: Final = 1

_REQUEST: Final = np.dtype(
    [
        ("id", "<i8"),
        ("arrival", "<f8"),
        ("queued", "<f8"),
        ("scheduled", "<f8"),
        ("first_token", "<f8"),
        ("finish", "<f8"),
        ("prompt_tokens", "<i4"),
        ("output_tokens", "<i4"),
        ("cached_tokens", "<i4"),
        ("preemptions", "<i4"),
        ("replica", "<i4"),
        ("session", "<i4"),
        ("status", "<i1"),
    ]
)
_GAP: Final = np.dtype(
    [("start", "<f8"), ("first", "<f8"), ("increment", "<f8"), ("count", "<i4"), ("weight", "<i4")]
)
_pack_request: Final = struct.Struct("<qdddddiiiiiib").pack
pack_gap: Final = struct.Struct("<dddii").pack
"""Bytes of one stretch of steps: (start, first, increment, count, weight)."""


class Recorder:
    """Request records and token gaps of one run, packed: millions of requests fit. Times in seconds.

    Gaps between output tokens are kept as arithmetic progressions (start, first gap, increment, count, weight):
    `weight` sequences each emitted `count` tokens from `start` on, `first`, `first + increment`, ... seconds
    apart. Every single gap can be rebuilt from them exactly. Whoever sees them appends them to `packed_gaps`.
    """

    def __init__(self) -> None:
        self.packed_gaps = bytearray()
        self._requests = bytearray()

    def request(self, request: Request, output_tokens: int, replica: int, status: int) -> None:
        """The life of `request`, which ended or was cut off."""
        self._requests += _pack_request(
            request.id,
            request.arrival,
            request.drained,
            request.scheduled,
            request.first_token,
            request.finish,
            request.prompt_tokens,
            output_tokens,
            request.cached,
            request.preemptions,
            replica,
            request.session,
            status,
        )

    def request_columns(self) -> dict[str, npt.NDArray[Any]]:
        """A value per request, in the order in which they ended at each replica."""
        return _columns(self._requests, _REQUEST)

    def gap_columns(self) -> dict[str, npt.NDArray[Any]]:
        """A value per stretch of steps, in the order in which they ended at each replica."""
        return _columns(self.packed_gaps, _GAP)


def _columns(packed: bytearray, row: np.dtype[Any]) -> dict[str, npt.NDArray[Any]]:
    rows = np.frombuffer(packed, row)
    return {name: rows[name] for name in row.names or ()}
