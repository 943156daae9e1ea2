"""The waiting queue: first come first served, or by a policy's rank."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator

from hasten.core.request import Request


class WaitingQueue:
    """Requests that wait for admission. Without `rank` it is first in first out, and preempted requests go first.

    With `rank` the smallest rank goes first, ties by arrival; `resort` ranks everybody anew. `size` counts them.
    """

    def __init__(self, rank: Callable[[Request], float] | None = None) -> None:
        self.size = 0
        self._rank = rank
        self._fifo: deque[Request] = deque()
        self._heap: list[tuple[float, float, int, Request]] = []

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Request]:
        if self._rank is None:
            return iter(self._fifo)
        return iter([item[3] for item in sorted(self._heap, key=lambda item: item[:3])])

    def push(self, request: Request, *, first: bool = False) -> None:
        """Append `request`, or put it `first` (a preempted request; a rank overrules that)."""
        self.size += 1
        if self._rank is not None:
            heapq.heappush(self._heap, (self._rank(request), request.arrival, request.id, request))
        elif first:
            self._fifo.appendleft(request)
        else:
            self._fifo.append(request)

    def head(self) -> Request:
        """The next in line."""
        return self._fifo[0] if self._rank is None else self._heap[0][3]

    def pop(self) -> Request:
        """Take the next in line."""
        self.size -= 1
        return self._fifo.popleft() if self._rank is None else heapq.heappop(self._heap)[3]

    def remove(self, request: Request) -> None:
        """Take `request` from wherever it stands."""
        self.size -= 1
        if self._rank is None:
            self._fifo.remove(request)
        else:
            self._heap = [item for item in self._heap if item[3] is not request]
            heapq.heapify(self._heap)

    def resort(self) -> None:
        """Ask every rank again: they change while requests wait."""
        rank = self._rank
        if rank is not None and len(self._heap) > 1:
            self._heap = [(rank(item[3]), item[1], item[2], item[3]) for item in self._heap]
            heapq.heapify(self._heap)
