"""A scheduler that visits every running request in every step: the independent reference of the simulator.

The simulator's own stepping mode shares its scheduler with the jumps, and keeps what decodes as one group. Here
nothing is shared but the step costs: first come first served by the rules of vLLM 0.19 (v1/core/sched/scheduler.py
and v1/core/block_pool.py), request by request and block by block, as engines and other simulators do it. It is
written to be checked by eye, not to be fast.

One rule is the simulator's own: a request whose last allowed token is in flight is not preempted.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from hasten.core.batch import Chunk
from hasten.core.limits import Limits
from hasten.core.request import Request
from hasten.errors import InputError
from hasten.latency.compiled import StepCost
from hasten.workload import Workload

Choice = Callable[[int, list[int]], int]
"""The replica of the n-th arrival, given how many requests each replica has that have not ended."""


class Walked:
    """One request: `prompt` tokens, then up to `cap` of which the true answer has `answer`. Times in seconds.

    `known` tokens are the prompt and what was sampled, in flight or not; [0, computed) of them are in KV.
    """

    def __init__(self, id: int, arrival: float, prompt: int, answer: int, cap: int) -> None:
        self.id = id
        self.arrival = arrival
        self.prompt = prompt
        self.answer = answer
        self.cap = cap
        self.known = prompt
        self.computed = 0
        self.decodes = False
        self.finished = False
        self.replica = -1
        self.preemptions = 0
        self.blocks: list[int] = []
        self.block_names: list[object] = []  # of the prompt's full blocks that others may share
        self.named = 0  # leading blocks whose names were offered to the cache
        self.tokens: list[float] = []  # when each output token came out

    @property
    def is_ending(self) -> bool:
        """Whether its last allowed token has been scheduled."""
        return self.known - self.prompt >= self.cap

    def name(self, number: int) -> object:
        """The content of full block `number` and of all before it; what follows the shared names is its own."""
        return self.block_names[number] if number < len(self.block_names) else (self, number)


class Blocks:
    """KV blocks one by one: a queue of free ones, users of the others, and names of full ones that can be found."""

    def __init__(self, limits: Limits) -> None:
        self.size = limits.block_size
        self.free: OrderedDict[int, None] = OrderedDict.fromkeys(range(limits.num_blocks))
        self.users = [0] * limits.num_blocks
        self.name_of: dict[int, object] = {}
        self.block_of: dict[object, int] = {}
        self.caches = limits.prefix_caching

    def hits(self, request: Walked) -> list[int]:
        """The longest chain of cached blocks; the last known token always stays to be computed."""
        found: list[int] = []
        for number in range((request.known - 1) // self.size if self.caches else 0):
            block = self.block_of.get(request.name(number))
            if block is None:
                break
            found.append(block)
        return found

    def share(self, request: Walked, hits: list[int]) -> None:
        """Start `request` with the cached blocks `hits`."""
        for block in hits:
            self.users[block] += 1
            self.free.pop(block, None)
        request.blocks = hits
        request.named = len(hits)

    def missing(self, request: Walked, tokens: int) -> int:
        """New blocks that `request` needs to hold `tokens` tokens."""
        return -(-tokens // self.size) - len(request.blocks)

    def extend(self, request: Walked, missing: int) -> None:
        """Give `request` as many blocks as are missing, from the head of the queue, and forget what they cached."""
        for _ in range(missing):
            block, _ = self.free.popitem(last=False)
            if block in self.name_of:
                del self.block_of[self.name_of.pop(block)]
            self.users[block] = 1
            request.blocks.append(block)

    def publish(self, request: Walked) -> None:
        """Full blocks of `request` can be found at once, before they are computed."""
        while request.named < request.computed // self.size:
            block, name = request.blocks[request.named], request.name(request.named)
            if name not in self.block_of:  # otherwise it stays a duplicate
                self.block_of[name] = block
                self.name_of[block] = name
            request.named += 1

    def release(self, request: Walked) -> None:
        """Give the blocks back last to first: a sequence is evicted from its end."""
        for block in reversed(request.blocks):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free[block] = None
        request.blocks = []


@dataclass
class Step:
    """What one step computes: prompt chunks, and one token for each of `decodes` sequences of `context` tokens."""

    chunks: list[Chunk]
    decodes: int
    context: int
    samples: list[Walked]  # who samples a token in it

    def seconds(self, cost: StepCost) -> float:
        """How long it lasts."""
        if self.chunks:
            return cost.mixed(self.chunks, self.decodes, self.context)
        fixed, slope, _ = cost.decode_line(self.decodes, self.context)
        return fixed + slope * self.context


class WalkingReplica:
    """One engine: its loop keeps up to `depth` steps in flight and drains its input once per turn."""

    def __init__(self, limits: Limits, cost: StepCost, depth: int) -> None:
        self.limits = limits
        self.cost = cost
        self.depth = depth
        self.blocks = Blocks(limits)
        self.inbox: deque[tuple[float, Walked]] = deque()
        self.waiting: deque[Walked] = deque()
        self.running: list[Walked] = []  # in the order of admission
        self.in_flight: deque[Step] = deque()
        self.next_time = math.inf
        self.outstanding = 0
        self.steps = 0

    def deliver(self, request: Walked, at: float) -> None:
        """`request` lies in the engine's input from `at` (s) on."""
        self.outstanding += 1
        self.inbox.append((at, request))
        if not self.in_flight:
            self.next_time = min(self.next_time, at)

    def turn(self) -> None:
        """One turn of the loop, at `next_time`: complete, drain, schedule."""
        now = self.next_time
        if self.in_flight:
            self._complete(self.in_flight.popleft(), now)
        while self.inbox and self.inbox[0][0] <= now:
            self._add(self.inbox.popleft()[1])
        while len(self.in_flight) < self.depth:
            step = self._schedule()
            if not step.chunks and not step.decodes:
                break
            self.in_flight.append(step)
        if self.in_flight:
            self.next_time = now + self.in_flight[0].seconds(self.cost)
        else:
            self.next_time = self.inbox[0][0] if self.inbox else math.inf

    def _add(self, request: Walked) -> None:
        limits = self.limits
        room = min(limits.max_model_len, limits.num_blocks * limits.block_size) - request.prompt
        if room < 1:  # turned away: it can never fit
            self.outstanding -= 1
            return
        request.cap = min(request.cap, room)
        self.waiting.append(request)

    def _complete(self, step: Step, now: float) -> None:
        """`step` ended at `now` (s): its tokens come out. One sampled after the end of an answer is waste."""
        self.steps += 1
        for request in step.samples:
            if request.finished:
                continue
            request.tokens.append(now)
            if len(request.tokens) >= min(request.answer, request.cap):
                request.finished = True
                self.outstanding -= 1
                (self.running if request in self.running else self.waiting).remove(request)
                self.blocks.release(request)

    # ---- one step ---------------------------------------------------------------------------------------

    def _schedule(self) -> Step:
        """Running requests first, in the order of admission; then waiting ones, unless someone was preempted."""
        step = Step([], 0, 0, [])
        budget = self.limits.max_num_batched_tokens
        preempts = False
        at = 0
        while at < len(self.running) and budget > 0:
            request = self.running[at]
            at += 1
            if request.is_ending:
                continue
            tokens = min(self._share(request.known - request.computed), budget)
            missing = self.blocks.missing(request, request.computed + tokens)
            if missing > len(self.blocks.free):
                preempts = True
                if not self._make_room(request, missing):
                    break
            self._run(request, tokens, missing, step)
            budget -= tokens
        if not preempts:
            self._admit(step, budget)
        return step

    def _admit(self, step: Step, budget: int) -> None:
        """Waiting requests in order, until one does not fit: nobody overtakes."""
        limits, blocks = self.limits, self.blocks
        while self.waiting and budget > 0 and len(self.running) < limits.max_num_seqs:
            request = self.waiting[0]
            hits = blocks.hits(request)
            start = len(hits) * blocks.size
            tokens = self._share(request.known - start)
            if not limits.chunked_prefill and tokens > budget:
                return
            tokens = min(tokens, budget)
            holds = request.known if limits.reserve_full_sequence else start + tokens
            unused = sum(blocks.users[block] == 0 for block in hits)  # they leave the free queue too
            if -(-holds // blocks.size) - len(hits) + unused > len(blocks.free):
                return
            self.running.append(self.waiting.popleft())
            blocks.share(request, hits)
            request.computed = start
            self._run(request, tokens, blocks.missing(request, start + tokens), step)
            budget -= tokens

    def _share(self, wanted: int) -> int:
        """Tokens of a request in one step, of a budget that is large enough."""
        threshold = self.limits.long_prefill_token_threshold
        return threshold if 0 < threshold < wanted else wanted

    def _run(self, request: Walked, tokens: int, missing: int, step: Step) -> None:
        """`request` computes `tokens` tokens in `step` and takes the blocks `missing` for them.

        It samples a token if nothing known is left to compute.
        """
        if request.decodes:
            step.decodes += 1
            step.context += request.computed
        else:
            last = request.computed + tokens == request.known
            step.chunks.append(Chunk(_NOBODY, tokens, request.computed, last))
        request.computed += tokens
        if missing:
            self.blocks.extend(request, missing)
        if self.limits.prefix_caching:
            self.blocks.publish(request)
        if request.computed == request.known:
            request.known += 1
            request.decodes = True
            step.samples.append(request)

    def _make_room(self, request: Walked, missing: int) -> bool:
        """Preempt from the tail of the running list until `missing` blocks are free; False: `request` itself went."""
        while missing > len(self.blocks.free):
            victim = next(other for other in reversed(self.running) if not other.is_ending)
            self._preempt(victim)
            if victim is request:
                return False
        return True

    def _preempt(self, request: Walked) -> None:
        """Drop the KV of `request`: it waits first in line and computes all known tokens again."""
        self.running.remove(request)
        self.blocks.release(request)
        request.computed = 0
        request.decodes = False
        request.preemptions += 1
        self.waiting.appendleft(request)


_NOBODY = Request(-1, 0.0, 1, 1)  # step costs ask chunks for tokens and context only


def in_turn(number: int, outstanding: list[int]) -> int:
    """Replicas in turn."""
    return number % len(outstanding)


def least_outstanding(number: int, outstanding: list[int]) -> int:
    """The first of the least loaded."""
    return outstanding.index(min(outstanding))


def walk(
    work: Workload,
    limits: Limits,
    cost: StepCost,
    *,
    depth: int = 1,
    replicas: int = 1,
    choose: Choice = in_turn,
    front_end: tuple[float, float] = (0.0, 0.0),
) -> tuple[list[Walked], int]:
    """Play `work`, which comes by the clock, step by step: its requests in order, and how many steps they took.

    `front_end` is what each replica's API process, a queue with one server, spends per request and per prompt
    token (s).
    """
    engines = [WalkingReplica(limits, cost, depth) for _ in range(replicas)]
    doors = [0.0] * replicas  # when each front end is free again
    requests = [_request(work, row, limits.block_size) for row in range(len(work))]
    for number, request in enumerate(requests):
        _run_until(engines, request.arrival)
        chosen = choose(number, [engine.outstanding for engine in engines])
        request.replica = chosen
        spent = front_end[0] + front_end[1] * request.prompt
        doors[chosen] = max(doors[chosen], request.arrival) + spent
        engines[chosen].deliver(request, doors[chosen] if spent else request.arrival)
    _run_until(engines, math.inf)
    return requests, sum(engine.steps for engine in engines)


def _run_until(engines: list[WalkingReplica], time: float) -> None:
    """Take all turns before `time` (s), in order."""
    while True:
        engine = min(engines, key=lambda each: each.next_time)
        if engine.next_time >= time:
            return
        engine.turn()


def _request(work: Workload, row: int, block_size: int) -> Walked:
    """Row `row`, its prompt's full blocks named in blocks of `block_size` tokens."""
    prompt = int(work.prompt_tokens[row])
    cap = 0 if work.max_tokens is None else int(work.max_tokens[row])
    request = Walked(
        row, float(work.arrival[row]), prompt, int(work.output_tokens[row]), cap if cap > 0 else 1 << 40
    )
    if work.block_spans is not None:
        raise InputError("the walk knows single blocks only: give a workload without runs (block_spans)")
    if work.block_ids is not None:
        ids = work.blocks_of(row)
        # A block is known by the id that covers its last token, and by its place under that id.
        for number in range(prompt // block_size):
            under = ((number + 1) * block_size - 1) // work.block_tokens
            if under < len(ids):
                request.block_names.append((ids[under], number))
    return request
