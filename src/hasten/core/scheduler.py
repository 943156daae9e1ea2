"""The serving scheduler: a pure state machine that says what the next step runs.

A driver calls `add`, `schedule`, `complete` and `cancel`, and owns the time. A step is {request: tokens}: there is
no prefill or decode phase. Sequences that decode advance in lockstep, one token per step, so they are kept as a
group with one clock: a request's context is base + (clock - joined), and a step costs the same whether 4 or 400
sequences decode. `advance` takes many equal steps at once; a driver may use it or not, the result is the same.

With asynchronous scheduling several batches are in flight: progress is booked when a step is scheduled, tokens
and ends when it completes.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Final

from hasten.core.admission import expected_output, max_output, reserve, retract_ratio
from hasten.core.batch import Batch, Chunk
from hasten.core.books import OutputShare
from hasten.core.group import DecodeGroup
from hasten.core.held import HeldBatch
from hasten.core.hooks import Hooks
from hasten.core.kv import BlockPool
from hasten.core.limits import Limits
from hasten.core.policy import CachePolicy, SchedulingPolicy
from hasten.core.preemption import fewest_generated, newest
from hasten.core.prefix import NO_PREFIX, coarsen
from hasten.core.queue import WaitingQueue
from hasten.core.refusal import BUDGET, MEMORY, POLICY, RESERVATION, SLOTS
from hasten.core.request import CLOSING, DECODING, FINISHED, HELD, LOADING, PREFILLING, WAITING, Request
from hasten.core.view import Estimates, SchedulerView

_NOBODY: Final[list[Request]] = []
_RULES = {"fits_now": None, "expected_output": expected_output, "max_output": max_output}


class Scheduler:
    """One replica's queues, KV blocks and books.

    Invariants live here: token budget, sequence limit, KV capacity. Policies only propose.
    """

    def __init__(
        self,
        limits: Limits,
        policy: SchedulingPolicy,
        *,
        cache: CachePolicy | None = None,
        estimates: Estimates | None = None,
        pool: BlockPool | None = None,
    ) -> None:
        # At most 30 attributes: CPython keeps more in a plain dictionary, and every step is 5 % slower.
        self.limits = limits
        self.policy = policy
        self.pool = pool or BlockPool(
            limits.num_blocks, limits.block_size, limits.prefix_caching, cache or CachePolicy()
        )
        self.now = 0.0
        self.done = 0  # decode steps completed
        self.group = DecodeGroup(limits.block_size)
        self.running: dict[int, Request] = {}  # in the order of admission
        self.prefilling: list[Request] = []
        self.held = HeldBatch()  # finished members of a request-level batch that is not
        self.pulls: list[Request] = []  # admitted since a driver last looked; their KV comes from elsewhere
        self.exported: dict[int, Request] = {}  # finished, their KV waits to be sent
        self.in_flight: list[Batch] = []  # one or two: the oldest first
        self.max_len = min(limits.max_model_len, limits.num_blocks * limits.block_size)
        self.reserved_blocks = 0
        self.num_preemptions = 0
        self.prompt_tokens_scheduled = 0
        self.prompt_tokens_cached = 0
        self.view = SchedulerView(self, estimates)
        self._caps: list[tuple[int, int, Request]] = []  # (clock of the last allowed token, order, request)
        self._admitted = 0
        self.refusal = SLOTS  # why the last `schedule` kept the head of the queue waiting, if there is one
        self._made_room = False  # who waits may fit after the last `schedule`: nobody asked, or too early
        self._unreported: list[Request] = []
        self.share = OutputShare(limits)
        self._rule = _RULES[limits.admission]
        self._preempts = newest if limits.preemption == "newest" else fewest_generated
        self._hooks = Hooks(policy)
        self._mixes = limits.mixed_steps and self._hooks.mixes_steps
        self.waiting = WaitingQueue(self._rank if self._hooks.ranks else None)

    # ---- the driver's four calls ------------------------------------------------------------------------

    def add(self, request: Request, now: float) -> bool:
        """Queue `request`. False: its prompt can never fit (context window or KV pool), it was not queued."""
        room = self.max_len - request.prompt_tokens
        if room < 1:
            return False
        if request.max_tokens > room:
            request.max_tokens = room
        self.now = now
        request.drained = now
        if request.block_tokens and request.block_tokens < self.limits.block_size:
            coarsen(request, self.limits.block_size)
        self.waiting.push(request)
        if self._hooks.hears_arrivals:
            self.policy.on_arrival(request, self.view)
        return True

    def schedule(self, now: float, *, prefill: bool = True) -> Batch | None:
        """Decide the next step at time `now` (s); None when there is nothing to run.

        `prefill` False: decodes only. Where steps are not mixed, prompts go first and alone.
        """
        self.now = self.pool.now = now
        if prefill:
            self._made_room = False
        pool = self.pool
        group = self.group
        limits = self.limits
        decode = self._mixes or not prefill
        decodes = group.size if decode else 0
        need = group.takers[group.clock % limits.block_size] if decodes else 0
        chunks: list[Chunk] = []
        preempted = None
        if (self.prefilling and prefill) or need > pool.free:
            chunks, need, preempted = self._running_first(prefill, decode)
            decodes = group.size if decode else 0
        if need:
            pool.take(need)
        held = len(self.held.members) if decodes else 0  # they pad decode steps only
        if self.waiting.size and prefill and preempted is None:
            budget = limits.max_num_batched_tokens - decodes - held
            for chunk in chunks:
                budget -= chunk.tokens
            self.refusal = self._admit(chunks, budget) if budget > 0 else BUDGET
        if decodes:
            context = group.context
            group.context = context + decodes
            clock = group.clock = group.clock + 1
            batch = Batch(chunks, decodes + held, context + self.held.context, clock, group.version, held)
            if self._caps and self._caps[0][0] <= clock:
                self._close(batch)
        elif chunks:
            batch = Batch(chunks, 0, 0, group.clock, group.version, 0)
        else:
            later = None if decode else self.schedule(now, prefill=False)
            if later is None and preempted is not None and not self.in_flight:
                return self.schedule(now)  # everybody lost the KV: who waits has room now
            return later
        for chunk in chunks:
            if chunk.is_last:
                self._join(chunk.request, batch)
        if self._unreported:
            batch.preempted = self._unreported
            self._unreported = []
        self.in_flight.append(batch)
        return batch

    def complete(self, now: float, stopped: Sequence[Request] = ()) -> list[Request]:
        """The oldest batch in flight ended at `now` (s), and `stopped` ended by content. Returns who finished."""
        batch = self.in_flight.pop(0)
        if batch.num_decodes:
            self.done = batch.clock
        closing = batch.closing
        return _NOBODY if closing is None and not stopped else self._end(now, stopped, closing)

    def _end(self, now: float, stopped: Sequence[Request], closing: list[Request] | None) -> list[Request]:
        """Book the ends that a completed step brings. Returns who finished."""
        self.now = self.pool.now = now
        ended: list[Request] = []
        for request in stopped:
            if request.status != FINISHED and request.status != HELD:
                for batch in self.in_flight:
                    batch.waste(request)
                ended.append(request)
        if closing is not None:
            ended.extend(request for request in closing if request.status == CLOSING)
        if len(ended) > 1:
            ended.sort(key=attrgetter("order"))  # who was admitted first frees its blocks first
        if self._hooks.holds_batch:
            return self._hold(ended)
        for request in ended:
            self._finish(request)
        return ended

    def cancel(self, request: Request, now: float) -> list[Request]:
        """The client left: free what `request` holds; its tokens in flight are waste. Returns who finished with it."""
        if request.status == FINISHED:
            return _NOBODY
        self.now = self.pool.now = now
        if request.status == HELD:
            self.held.drop(request)
        else:
            for batch in self.in_flight:
                batch.waste(request)
        self._finish(request)
        return self._let_go()

    # ---- KV that crosses between replicas ---------------------------------------------------------------

    def loaded(self, request: Request, now: float) -> None:
        """The KV of `request`, which was admitted without computing it, has arrived: it computes the rest."""
        self.now = self.pool.now = now
        request.status = PREFILLING
        self.prefilling.append(request)
        if request.block_ids and self.limits.prefix_caching:
            self.pool.register(request, request.computed // self.limits.block_size)

    def sent(self, request: Request, now: float) -> None:
        """The KV of `request`, which finished here, has arrived elsewhere: its blocks are free."""
        self.now = self.pool.now = now
        del self.exported[request.id]
        self.pool.release(request, request.base)

    # ---- many steps at once -----------------------------------------------------------------------------

    def steady_steps(self, limit: int) -> int:
        """How many further `schedule` calls, `limit` at most, repeat the last batch if nothing arrives or stops."""
        last = self.in_flight[-1]
        group = self.group
        if last.version != group.version or last.prefills or self.prefilling or not group.size:
            return 0
        if self.waiting.size:
            if self._made_room or self.limits.admission == "expected_output":
                return 0  # the refusal may not last
            limit = min(limit, self.policy.horizon(self.view) - 1)
        caps = self._caps
        while caps and caps[0][0] - group.clock <= limit:
            at, order, request = caps[0]
            if request.status == DECODING and request.order == order:
                limit = at - group.clock - 1
                break
            heappop(caps)
        if limit <= 0:
            return 0
        free = self.pool.free
        if (limit // self.limits.block_size + 1) * group.size <= free:  # plenty for everyone
            return limit
        return group.steps_that_fit(free, limit)

    def advance(self, steps: int, now: float, stopped: Sequence[Request] = ()) -> list[Request]:
        """Schedule and complete `steps` more steps like those in flight, which all move on by as many.

        The last of them completed at `now` (s); `stopped` ended with it. Returns who finished. The caller checked
        `steady_steps`, and that every batch in flight is such a step.
        """
        group = self.group
        self.pool.take(group.advance(steps))
        self.done += steps
        for batch in self.in_flight:
            batch.clock += steps
            batch.decode_context += group.size * steps
        return self._end(now, stopped, None) if stopped else _NOBODY

    # ---- books that policies and drivers read -----------------------------------------------------------

    def context_of(self, request: Request) -> int:
        """Tokens of `request` in KV, steps in flight included."""
        if request.status == DECODING:
            return request.base + self.group.clock - request.joined
        return request.base if request.status in (CLOSING, HELD) else request.computed

    def sampled_tokens(self, request: Request) -> int:
        """Output tokens of `request` whose sampling has been scheduled."""
        return request.sampled + (self.group.clock - request.joined if request.status == DECODING else 0)

    # ---- one step ---------------------------------------------------------------------------------------

    def _running_first(self, prefill: bool, decode: bool) -> tuple[list[Chunk], int, list[Request] | None]:
        """Give running requests their tokens and blocks, preempting while they do not fit."""
        size = self.limits.block_size
        group = self.group
        preempted: list[Request] | None = None
        while True:
            decodes = group.size if decode else 0
            need = group.blocks_next if decodes else 0
            wants: list[tuple[Request, int]] = []
            held = len(self.held) if decodes else 0
            budget = self.limits.max_num_batched_tokens - decodes - held
            for request in self.prefilling if prefill else ():
                tokens = self._wanted(request, request.target - request.computed, budget)
                if tokens > 0:
                    wants.append((request, tokens))
                    budget -= tokens
                    need += (request.computed + tokens + size - 1) // size - (
                        request.computed + size - 1
                    ) // size
            if need <= self.pool.free:
                break
            self._made_room = True
            if self.held.strip(self.pool):
                continue
            victim = self._victim()
            if victim is None:
                wants = []
                need = group.blocks_next if decodes else 0
                break
            preempted = [] if preempted is None else preempted
            preempted.append(victim)
            self._preempt(victim)
        if preempted is not None:
            self._unreported += preempted
            self.refusal = MEMORY
            if self._rule is expected_output:
                self.share.restart(group.clock, retract_ratio(self))
        chunks = [self._continue(request, tokens) for request, tokens in wants]
        return chunks, need, preempted

    def _wanted(self, request: Request, tokens: int, budget: int) -> int:
        """Tokens of a prompt to compute in this step: `tokens` cut by threshold, budget and policy."""
        threshold = self.limits.long_prefill_token_threshold
        if 0 < threshold < tokens:
            tokens = threshold
        if tokens > budget:
            if not self.limits.chunked_prefill and budget < self.limits.max_num_batched_tokens:
                return 0
            tokens = budget
        if self._hooks.chunks and tokens > 0:
            return max(0, min(tokens, self.policy.chunk(request, tokens, self.view)))
        return tokens

    def _continue(self, request: Request, tokens: int) -> Chunk:
        """The next chunk of a prompt under way. Its blocks are counted by the caller."""
        start = request.computed
        request.computed = start + tokens
        last = request.computed == request.target
        if last:
            self.prefilling.remove(request)
        if request.block_ids and self.limits.prefix_caching:
            self.pool.register(request, request.computed // self.limits.block_size)
        self.prompt_tokens_scheduled += tokens
        return Chunk(request, tokens, start, last)

    def _admit(self, chunks: list[Chunk], budget: int) -> int:
        """Let waiting requests in, in order, until one does not fit: nobody overtakes. Returns why it does not."""
        pool = self.pool
        limits = self.limits
        size = limits.block_size
        waiting = self.waiting
        running = self.running
        hooks = self._hooks
        if hooks.resorts:
            waiting.resort()
        while waiting.size and budget > 0 and len(running) < limits.max_num_seqs:
            request = waiting.head()
            if hooks.gates and not request.preemptions and not self.policy.admits(self.view):
                return POLICY
            named = bool(request.block_ids) or request.ghost is not None
            found = pool.find(request) if named else NO_PREFIX
            hits = found.blocks
            start = hits * size
            reached = pool.reach(request, hits) if pool.reloads else request.incoming  # without computing it
            comes = reached - start if reached > start else 0
            left = request.target - start
            tokens = comes or left
            if not comes and (left > budget or limits.long_prefill_token_threshold or hooks.chunks):
                tokens = self._wanted(request, left, budget)
                if tokens <= 0:
                    self._made_room |= pool.reloads  # loading may pay later
                    return POLICY if hooks.chunks else BUDGET
            first = (start + tokens + size - 1) // size - hits
            need = (request.target + size - 1) // size - hits if limits.reserve_full_sequence else first
            need += found.unused
            if need + limits.watermark_blocks > pool.free and (running or need > pool.free):
                if (hits or comes) and not limits.reserve_full_sequence:
                    self._made_room = True  # its prefix evicted or slow to load, its first chunk may fit
                return MEMORY
            if self._rule is not None and not reserve(self, request, self._rule):
                return RESERVATION
            waiting.pop()
            if named:
                pool.acquire(request, found)
            pool.take(first)
            request.computed = start + tokens
            request.order = self._admitted = self._admitted + 1
            running[request.id] = request
            if request.scheduled < 0.0:
                request.scheduled = self.now
                request.cached = start + comes
                self.prompt_tokens_cached += start + comes
            if comes:
                request.status, request.base = LOADING, request.computed
                self.pulls.append(request)
                continue
            if request.block_ids and limits.prefix_caching:
                pool.register(request, request.computed // size)
            self.prompt_tokens_scheduled += tokens
            budget -= tokens
            if tokens < left:
                request.status = PREFILLING
                self.prefilling.append(request)
            chunks.append(Chunk(request, tokens, start, tokens == left))
        return BUDGET if budget <= 0 else SLOTS

    # ---- the decode group -------------------------------------------------------------------------------

    def _join(self, request: Request, batch: Batch) -> None:
        """`request` samples a token in `batch` and decodes from the next step on."""
        clock = self.group.clock
        request.base = request.computed = request.target
        request.joined = clock
        request.left = -1
        request.sampled += 1
        allowed = request.max_tokens - request.sampled
        if allowed <= 0:
            request.status = CLOSING
            request.left = clock
            batch.close(request)
            return
        request.status = DECODING
        self.group.join(request)
        caps = self._caps
        heappush(caps, (clock + allowed, request.order, request))
        if len(caps) > 2 * self.group.size + 64:
            self._caps = [item for item in caps if item[2].status == DECODING and item[2].order == item[1]]
            heapify(self._caps)

    def _close(self, batch: Batch) -> None:
        """Members that sample their last allowed token in `batch` are not scheduled again."""
        caps = self._caps
        while caps and caps[0][0] <= self.group.clock:
            _, order, request = heappop(caps)
            if request.status == DECODING and request.order == order:
                self.group.leave(request)
                request.status = CLOSING
                batch.close(request)

    def _hold(self, ended: list[Request]) -> list[Request]:
        """Keep the slots and blocks of members that ended until their batch has finished. Returns who finished."""
        finished: list[Request] = []
        for request in ended:
            if request.status == WAITING:  # preempted: it has nothing to keep
                self._finish(request)
                finished.append(request)
                continue
            if request.status == DECODING:
                self.group.leave(request)
            self.held.hold(request)
            self.group.version += 1
        return finished + self._let_go()

    def _let_go(self) -> list[Request]:
        """Finish the held members of a batch that has nobody left who still works."""
        if not len(self.held) or len(self.held) < len(self.running):
            return _NOBODY
        finished = self.held.let_go()
        for request in finished:
            self._finish(request)
        return finished

    # ---- ends -------------------------------------------------------------------------------------------

    def _finish(self, request: Request) -> None:
        status = request.status
        request.status = FINISHED
        if status == WAITING:
            self.waiting.remove(request)
            self.pool.forget(request)
        else:
            if status == DECODING:
                self.group.leave(request)
            elif status == PREFILLING:
                self.prefilling.remove(request)
                request.base = request.computed
            del self.running[request.id]
            if request.names_answer and self.limits.prefix_caching:
                self.pool.register(request, request.base // self.limits.block_size)
            if request.exports:
                self.exported[request.id] = request
            else:
                self.pool.release(request, request.base)
            self.reserved_blocks -= request.reserved
        if self._hooks.hears_finishes:
            self.policy.on_finish(request, self.view)

    def _victim(self) -> Request | None:
        """Who loses its KV: the policy's choice, else the engine's rule. None if only ending requests run."""
        chosen = self.policy.victim(self.view)
        if chosen is not None and chosen.status in (DECODING, PREFILLING) and chosen.id in self.running:
            return chosen
        return self._preempts(self)

    def _preempt(self, request: Request) -> None:
        """Drop the KV of `request`; it waits first in line and computes its known tokens again."""
        if request.status == DECODING:
            self.group.leave(request)
        else:
            self.prefilling.remove(request)
            request.base = request.computed
        del self.running[request.id]
        self.pool.release(request, request.base, keep=self.limits.preemption == "newest")
        self.reserved_blocks -= request.reserved
        request.reserved = 0
        request.computed = request.incoming = 0
        request.target = request.prompt_tokens + request.sampled
        request.status = WAITING
        request.preemptions += 1
        self.num_preemptions += 1
        self.waiting.push(request, first=True)

    def _rank(self, request: Request) -> float:
        return self.policy.rank(request, self.view)
