"""What a schedule policy has handed out in the step that is being filled."""

from __future__ import annotations

from hasten.core.request import Request
from hasten.core.view import SchedulerView


class StepFill:
    """Prompt tokens in the step under way, by request. A step asked about anew is filled anew."""

    def __init__(self) -> None:
        self._step = (-1.0, -1)
        self._chunks: dict[int, int] = {}

    def tokens(self, request: Request, view: SchedulerView) -> int:
        """Prompt tokens that the step holds before `request` gets its share."""
        step = view.now, view.steps_decoded
        if step != self._step or request.id in self._chunks:  # asked again
            self._step = step
            self._chunks.clear()
        return sum(self._chunks.values())

    def add(self, request: Request, tokens: int) -> int:
        """`request` gets `tokens` of the step; returns them."""
        self._chunks[request.id] = tokens
        return tokens
