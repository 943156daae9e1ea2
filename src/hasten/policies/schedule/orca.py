"""Iteration-level batching with whole prompts and reserved memory."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError


@dataclass
class Orca(SchedulingPolicy):
    """Refill a slot as soon as its request ends; prompts join the decodes whole, up to a number of sequences.

    Memory for the longest possible answer is reserved at admission, so that nothing is ever preempted.

    Paper: "Orca: A Distributed Serving System for Transformer-Based Generative Models", OSDI 2022.
    Differs: a prompt longer than the step's token budget takes several steps; attention costs what the deployment's
        kernels cost (the paper's selective batching is how such a step is run, not who is in it).
    Needs: nothing; caps on answers (max_tokens) make the reservation smaller.
    Use when: answers differ in length, and an engine without paged KV is to be modelled.
    Avoid when: KV is paged: fcfs admits more, since it reserves nothing, and long prompts stall nobody's tokens.
    """

    rank_changes: ClassVar[bool] = False

    batch_size: int = 32  # sequences
    reserve: bool = True  # KV for prompt and longest answer is set aside at admission
    _reserved: dict[int, int] = field(default_factory=dict, init=False, repr=False)  # blocks by request

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}: it must be at least 1")

    def admits(self, view: SchedulerView) -> bool:
        """While a slot is free and the first in line can be served to its longest answer."""
        if view.num_running >= self.batch_size:
            return False
        first = next(iter(view.waiting), None)
        if first is None or not self.reserve or view.num_running == 0:
            return True
        taken = sum(blocks for id, blocks in self._reserved.items() if id != first.id)
        return taken + _most_blocks(first, view) <= view.num_blocks

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        """The whole prompt, or nothing until it fits into a step; one longer than any step is cut when nobody runs."""
        if request.computed:
            return wanted
        self._reserved[request.id] = _most_blocks(
            request, view
        )  # nobody overtakes: it is the next to be let in
        is_whole = wanted >= request.target - view.cached_tokens(request)
        return wanted if is_whole or view.num_running == 0 else 0

    def on_finish(self, request: Request, view: SchedulerView) -> None:
        """Its reservation is free again."""
        self._reserved.pop(request.id, None)

    def horizon(self, view: SchedulerView) -> int:
        """Slots, reservations and the budget of a step come back only when a request ends."""
        return FOREVER


def _most_blocks(request: Request, view: SchedulerView) -> int:
    """KV blocks of prompt and longest answer."""
    return -(-(request.prompt_tokens + request.max_tokens) // view.block_size)
