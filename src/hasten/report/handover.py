"""How a request got from the replica that computed its prompt to the one that answers: times that a step log keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Handover:
    """Both replicas by index, times in seconds. NaN: it never came to that, as where nothing has to be pulled because
    the decode replica holds the prompt already."""

    sender: int
    receiver: int
    at: float  # the first token is out, and the request waits at the receiver
    queued: float = math.nan  # the receiver's scheduler knows it
    pulled: float = math.nan  # it is let in: its KV may come
    begins: float = math.nan  # the links are free: its KV travels
    arrives: float = math.nan

    @property
    def travels(self) -> bool:
        """Whether KV crosses the link."""
        return not math.isnan(self.pulled)
