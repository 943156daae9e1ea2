"""What happened, as flat columns: a row per request, a row per stretch of equal steps."""

import struct
from array import array
from typing import Final

from hasten.core.request import Request

OK: Final = 0
REJECTED: Final = 1
UNFINISHED: Final = 2

_PIECE: Final = 8192  # rows that wait in a list before they become columns: appending to a list is cheaper

RequestRow = tuple[int, float, float, float, float, float, int, int, int, int, int, int, int]
GapRow = tuple[float, float, float, int, int]


class Recorder:
    """Request records and token gaps of one run, compact enough for millions of requests.

    Gaps between output tokens are kept as arithmetic progressions (start, first gap, increment, steps, weight):
    `weight` sequences each emitted `steps` tokens from `start` on, `first`, `first + increment`, ... seconds
    apart. Every single gap can be rebuilt from them exactly. Times in seconds. Call `flush` before reading.
    """

    def __init__(self) -> None:
        self.id = array("q")
        self.arrival = array("d")
        self.drained = array("d")
        self.scheduled = array("d")
        self.first_token = array("d")
        self.finish = array("d")
        self.prompt_tokens = array("i")
        self.output_tokens = array("i")
        self.cached_tokens = array("i")
        self.preemptions = array("i")
        self.replica = array("i")
        self.session = array("i")
        self.status = array("b")
        self.gap_start = array("d")
        self.gap_first = array("d")
        self.gap_increment = array("d")
        self.gap_steps = array("i")
        self.gap_weight = array("i")
        self._requests: list[RequestRow] = []
        self._gaps: list[GapRow] = []

    def gaps(self, start: float, first: float, increment: float, steps: int, weight: int) -> None:
        """`weight` sequences emitted `steps` tokens each, the first gap beginning at `start`."""
        self._gaps.append((start, first, increment, steps, weight))

    def request(self, request: Request, output_tokens: int, replica: int, status: int) -> None:
        """The life of `request`, which ended or was cut off."""
        self._requests.append(
            (
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
        )
        if len(self._gaps) > _PIECE:
            self.flush()

    def flush(self) -> None:
        """Turn the rows that wait into columns."""
        _deal(
            self._requests,
            (
                self.id,
                self.arrival,
                self.drained,
                self.scheduled,
                self.first_token,
                self.finish,
                self.prompt_tokens,
                self.output_tokens,
                self.cached_tokens,
                self.preemptions,
                self.replica,
                self.session,
                self.status,
            ),
        )
        gaps = (self.gap_start, self.gap_first, self.gap_increment, self.gap_steps, self.gap_weight)
        _deal(self._gaps, gaps)


def _deal(rows: list[RequestRow] | list[GapRow], columns: tuple[array, ...]) -> None:  # type: ignore[type-arg]
    """Append `rows` to `columns` and empty them. Packing is ten times as fast as `array.extend`."""
    for column, part in zip(columns, zip(*rows, strict=True), strict=False):
        column.frombytes(struct.pack(f"{len(part)}{column.typecode}", *part))
    rows.clear()
