"""KV on its way between replicas, in virtual time: every replica sends and receives one request's KV at a time."""

from __future__ import annotations

from collections.abc import Callable


class Transfers:
    """Books the links of `senders` and `receivers`. `seconds(tokens)` is the time of one transfer over idle links.

    A transfer starts when both its links are free, first come, first served: contention shows as waiting. Times in
    seconds.
    """

    def __init__(self, senders: int, receivers: int, seconds: Callable[[int], float]) -> None:
        self._send_free = [0.0] * senders
        self._receive_free = [0.0] * receivers
        self._seconds = seconds

    def start(self, sender: int, receiver: int, tokens: int, now: float) -> tuple[float, float]:
        """Move the KV of `tokens` tokens, asked for at `now`; returns when it sets out and when it has arrived."""
        begin = max(now, self._send_free[sender], self._receive_free[receiver])
        end = begin + self._seconds(tokens)
        self._send_free[sender] = self._receive_free[receiver] = end
        return begin, end
