"""Step costs as the simulator asks for them, millions of times: lists and arithmetic, nothing else.

A decode-only step of n sequences whose contexts sum to S lasts ``a + b * S`` seconds, so a driver can fold k
steps into one multiplication (S grows by n each step). Every other step is priced one at a time by ``mixed``.

This file keeps to the standard library and plain typed classes, so that a compiler such as mypyc can take it
as it is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hasten.core.batch import Chunk

UNLIMITED = 1 << 60
"""Window of an attention that sees its whole context, in tokens."""

Line = tuple[float, float, float]
"""``(a, b, limit)``: a step lasts ``a + b * S`` seconds while S < limit; limit is math.inf for ever."""


AttentionRates = tuple[int, float, float, float, float, float, float, float, float]
"""One kind of attention layer: its window in tokens; in prefill, seconds per query-key pair, cached token
expanded, key read and query; in decode, seconds per key (arithmetic), key (memory) and query; and the
factor on decode in mixed steps."""


def causal_pairs(tokens: int, context: int, window: int) -> float:
    """Query-key pairs of a causal chunk of ``tokens`` behind ``context``, at most ``window`` per query."""
    if context + tokens <= window:
        return tokens * context + tokens * (tokens + 1) * 0.5
    if context >= window:
        return float(tokens * window)
    # Queries [0, growing) see everything before them, queries [growing, tokens) a full window.
    growing = window - context
    return growing * context + growing * (growing + 1) * 0.5 + (tokens - growing) * window


def tokens_seen(tokens: int, context: int, window: int) -> int:
    """Keys read by a chunk of ``tokens`` behind ``context`` tokens: the first query's window and its own."""
    return tokens + (context if context < window else window - 1)


class StepCost:
    """What a step costs, in seconds. Both methods must be pure: same arguments, same seconds."""

    def decode_line(self, n: int, context_sum: int) -> Line:
        """Line of a decode-only step of ``n`` sequences, in seconds, from ``S = context_sum`` to its limit.

        ``context_sum`` is the number of tokens of all n sequences that are in KV when the step starts.
        """
        raise NotImplementedError

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        """Seconds of a step with prefill chunks and ``n`` decodes with ``context_sum`` tokens in KV."""
        raise NotImplementedError


class LinearCost(StepCost):
    """A step time that is linear in everything, in seconds: for closed forms and tests.

    seconds = fixed + per_sequence * decodes + per_context * context_sum
    + per_prefill_token * (sum of chunk tokens) + per_prefill_context * (sum of chunk contexts).
    """

    def __init__(
        self,
        fixed: float,
        *,
        per_sequence: float = 0.0,
        per_context: float = 0.0,
        per_prefill_token: float = 0.0,
        per_prefill_context: float = 0.0,
    ) -> None:
        self.fixed = fixed
        self.per_sequence = per_sequence
        self.per_context = per_context
        self.per_prefill_token = per_prefill_token
        self.per_prefill_context = per_prefill_context

    def decode_line(self, n: int, context_sum: int) -> Line:
        return (self.fixed + self.per_sequence * n, self.per_context, math.inf)

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        tokens = 0
        context = 0
        for chunk in prefills:
            tokens += chunk.tokens
            context += chunk.context
        return (
            self.fixed
            + self.per_sequence * n
            + self.per_context * context_sum
            + self.per_prefill_token * tokens
            + self.per_prefill_context * context
        )


class MeasuredAttention:
    """Attention of all layers of a model from measurements, in seconds.

    Decode: ``decode[n][i]`` lasts a batch of n sequences of ``contexts[i]`` tokens each, in a decode-only step;
    ``beside`` is (chunks, rows), where rows[n][c][i] is what they add to a step whose prefills have chunks[c]
    tokens together; ``prefill`` is (pasts, rows), where rows[t][i] lasts a chunk of t tokens behind pasts[i]
    cached ones. Linear in between, and beyond the last context or past. Contexts and pasts start at 0 and rise,
    chunks double.
    """

    def __init__(
        self,
        contexts: list[int],
        decode: list[list[float]],
        *,
        beside: tuple[list[int], list[list[list[float]]]],
        prefill: tuple[list[int], list[list[float]]],
    ) -> None:
        self.contexts = contexts
        self.decode = decode
        self.chunks, self.beside = beside
        self.pasts, self.prefill = prefill
        self.places = _places(self.chunks)

    def lines(self, n: int, share: float) -> list[Line]:
        """Decode attention of n sequences as lines in the sum of contexts, times ``share``."""
        if n == 0:
            return [(0.0, 0.0, math.inf)]
        seconds = self.decode[n]
        knots = self.contexts
        found: list[Line] = []
        last = len(knots) - 2
        for i in range(last + 1):
            slope = (seconds[i + 1] - seconds[i]) / (n * (knots[i + 1] - knots[i]))
            at = seconds[i] - slope * n * knots[i]
            found.append((share * at, share * slope, math.inf if i == last else float(n * knots[i + 1])))
        return found

    def scaled(self, *, decode: float, prefill: float) -> MeasuredAttention:
        """The same with decodes and prefills multiplied by a factor each."""
        return MeasuredAttention(
            self.contexts,
            [[decode * each for each in row] for row in self.decode],
            beside=(
                self.chunks,
                [[[decode * each for each in row] for row in rows] for rows in self.beside],
            ),
            prefill=(self.pasts, [[prefill * each for each in row] for row in self.prefill]),
        )

    def seconds(self, prefills: Sequence[Chunk], n: int, context_sum: int) -> float:
        """Attention of a step with chunks and n decodes whose contexts sum to ``context_sum``."""
        total = 0.0
        tokens = 0
        for chunk in prefills:
            new = chunk.tokens
            past = chunk.context
            row = self.prefill[new]
            tokens += new
            if past:  # as `between`, without its call
                knots = self.pasts
                i = bisect_right(knots, past, 1, len(knots) - 1)
                left = knots[i - 1]
                total += row[i - 1] + (row[i] - row[i - 1]) * ((past - left) / (knots[i] - left))
            else:
                total += row[0]
        return total + self.added(tokens, n, context_sum) if n else total

    def seconds_of(self, prefills: Sequence[tuple[int, int]], n: int, context_sum: int) -> float:
        """The same with chunks as (tokens, context)."""
        total = 0.0
        tokens = 0
        for new, past in prefills:
            tokens += new
            total += between(self.pasts, self.prefill[new], past)
        return total + self.added(tokens, n, context_sum) if n else total

    def added(self, tokens: int, n: int, context_sum: int) -> float:
        """What n decodes add to a step whose prefills have so many ``tokens`` together."""
        context = context_sum / n
        if tokens == 0:
            return between(self.contexts, self.decode[n], context)
        place, share = self.places[tokens] if tokens < len(self.places) else self.places[-1]
        rows = self.beside[n]
        low = rows[place]
        knots = self.contexts
        i = bisect_right(knots, context, 1, len(knots) - 1)
        left = knots[i - 1]
        way = (context - left) / (knots[i] - left)
        first = low[i - 1]
        seconds = first + (low[i] - first) * way
        if share == 0.0:
            return seconds
        high = rows[place + 1]
        first = high[i - 1]
        return seconds + (first + (high[i] - first) * way - seconds) * share


def _places(chunks: list[int]) -> list[tuple[int, float]]:
    """By number of tokens up to the largest chunk: the chunk below and the share of the way to the next.

    Chunks double, so that share, in the log of the tokens, is the log to base 2 of their ratio.
    """
    found = [(0, 0.0)] * chunks[0]
    for i in range(len(chunks) - 1):
        found += [(i, math.log2(tokens / chunks[i])) for tokens in range(chunks[i], chunks[i + 1])]
    found.append((len(chunks) - 1, 0.0))
    return found


def between(knots: list[int], values: list[float], at: float) -> float:
    """``values`` at ``at``, linear between ``knots`` and beyond the last two."""
    i = bisect_right(knots, at, 1, len(knots) - 1)
    left = knots[i - 1]
    return values[i - 1] + (values[i] - values[i - 1]) * ((at - left) / (knots[i] - left))


class TableCost(StepCost):
    """A compiled latency model: tables by token count and a closed formula for attention, in seconds.

    ``lines[n]`` are the pieces of the decode line of n sequences, in rising order of their limits.
    ``dense[t]`` and ``head[r]`` are everything but attention of a mixed step (micro-batch) of t tokens and r
    sequences; ``graph_tokens`` is the largest such t that runs in a graph. A step lasts at least the host's
    time to launch it: ``host_graph`` or ``host_eager``. ``offset`` is added to every mixed step. ``measured`` is
    attention from measurements; ``rates`` that of the other kinds of layers.
    """

    def __init__(
        self,
        lines: list[list[Line]],
        dense: list[float],
        head: list[float],
        *,
        rates: list[AttentionRates],
        stages: int = 1,
        graph_tokens: int = 0,
        host_graph: float = 0.0,
        host_eager: float = 0.0,
        offset: float = 0.0,
        measured: MeasuredAttention | None = None,
    ) -> None:
        self.lines = lines
        self.first: list[Line] = [pieces[0] for pieces in lines]
        self.limits: list[list[float]] = [[piece[2] for piece in pieces] for pieces in lines]
        self.dense = dense
        self.head = head
        self.rates = rates
        self.stages = stages
        self.graph_tokens = graph_tokens
        self.host_graph = host_graph
        self.host_eager = host_eager
        self.offset = offset
        self.measured = measured

    def decode_line(self, n: int, context_sum: int) -> Line:
        line = self.first[n]
        if context_sum < line[2]:
            return line
        return self.lines[n][bisect_right(self.limits[n], context_sum)]

    def attention(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        """Seconds of attention in a step with chunks and decodes, beyond the fixed time of its kernels."""
        seconds = 0.0
        if self.measured is not None:
            seconds = self.measured.seconds(prefills, n, context_sum)
        for window, pair, past, seen, query, key_flops, key_bytes, decode_query, slowdown in self.rates:
            for chunk in prefills:
                new = chunk.tokens
                context = chunk.context
                if context + new <= window:
                    arithmetic = pair * (new * context + new * (new + 1) * 0.5) + past * context
                    memory = seen * (context + new) + query * new
                else:
                    arithmetic = pair * causal_pairs(new, context, window) + past * context
                    memory = seen * tokens_seen(new, context, window) + query * new
                seconds += arithmetic if arithmetic > memory else memory
            if n:
                keys = context_sum + n
                if keys > n * window:
                    keys = n * window
                arithmetic = key_flops * keys
                memory = key_bytes * keys + decode_query * n
                if arithmetic > memory:
                    memory = arithmetic
                seconds += slowdown * memory if prefills else memory
        return seconds

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        tokens = n
        for chunk in prefills:
            tokens += chunk.tokens
        sequences = n + len(prefills)
        if self.measured is not None and not self.rates:
            seconds = self.measured.seconds(prefills, n, context_sum)
        else:
            seconds = self.attention(prefills, n, context_sum)
        if self.stages > 1:
            parts = sequences if sequences < self.stages else self.stages
            tokens = -(-tokens // parts)
            sequences = -(-sequences // parts)
            seconds /= parts
        seconds += self.dense[tokens] + self.head[sequences]
        floor = self.host_graph if tokens <= self.graph_tokens else self.host_eager
        return (seconds if seconds > floor else floor) + self.offset


class LockstepCost(TableCost):
    """Costs of data-parallel ranks that share experts: every step is one step of all ranks together.

    A step is priced at three figures: dense layers of the rank with the most tokens (``own``), experts and
    their exchange for the tokens of all ranks (``shared``), and the attention of one rank: in decode-only
    steps the one with the largest context sum, otherwise the slowest. The inherited methods price a step of
    one rank while the others are idle. ``attention_lines[n]`` are the pieces of decode attention of one rank,
    ``decode_own[n]`` the seconds of its other layers without experts and the seconds the host needs to launch
    them; ``decode_offset`` is added to every decode-only step.
    """

    def __init__(
        self,
        table: TableCost,
        shared: list[float],
        *,
        own: list[float],
        attention_lines: list[list[Line]],
        decode_own: list[tuple[float, float]],
        decode_offset: float = 0.0,
    ) -> None:
        super().__init__(
            table.lines,
            table.dense,
            table.head,
            rates=table.rates,
            stages=table.stages,
            graph_tokens=table.graph_tokens,
            host_graph=table.host_graph,
            host_eager=table.host_eager,
            offset=table.offset,
            measured=table.measured,
        )
        self.shared = shared
        self.own = own
        self.attention_lines = attention_lines
        self.decode_own = decode_own
        self.decode_offset = decode_offset

    def lockstep_decode_line(self, ranks: list[tuple[int, int]]) -> tuple[float, float, float, int, int]:
        """Line of a decode-only step of all ranks, each given as (sequences, sum of contexts); not all idle.

        Returns ``(a, b, limit, leader, steps)``: with S the context sum of rank number ``leader``, a step
        lasts ``a + b * S`` seconds while S < limit, for at most ``steps`` steps, after which another rank has
        the largest sum. The leader is the rank with the largest sum, of those the one with most sequences.
        """
        leader = 0
        most = 0
        total = 0
        for index in range(len(ranks)):
            n, context_sum = ranks[index]
            total += n
            if n > most:
                most = n
            if (context_sum, n) > (ranks[leader][1], ranks[leader][0]):
                leader = index
        lead_n, lead_sum = ranks[leader]
        steps = UNLIMITED
        for n, context_sum in ranks:
            if n > lead_n:
                steps = min(steps, -((context_sum - lead_sum) // (n - lead_n)))
        parts = most if most < self.stages else self.stages
        a, b, limit = piece_at(self.attention_lines[lead_n], lead_sum)
        own, floor = self.decode_own[most]
        a += own + self.shared[-(-total // parts)]
        a, b, limit = floored((a, b, limit), lead_sum, floor)
        return (a + self.decode_offset, b, limit, leader, steps)

    def lockstep_mixed(self, ranks: list[tuple[list[Chunk], int, int]]) -> float:
        """Seconds of a step of all ranks, each given as (prefill chunks, decodes, sum of their contexts)."""
        most_tokens = 0
        most_sequences = 0
        total = 0
        slowest = 0.0
        for prefills, n, context_sum in ranks:
            tokens = n
            for chunk in prefills:
                tokens += chunk.tokens
            total += tokens
            most_tokens = max(most_tokens, tokens)
            most_sequences = max(most_sequences, n + len(prefills))
            slowest = max(slowest, self.attention(prefills, n, context_sum))
        parts = most_sequences if most_sequences < self.stages else self.stages
        most_tokens = -(-most_tokens // parts)
        seconds = self.own[most_tokens] + self.shared[-(-total // parts)]
        seconds += self.head[-(-most_sequences // parts)] + slowest / parts
        floor = self.host_graph if most_tokens <= self.graph_tokens else self.host_eager
        return (seconds if seconds > floor else floor) + self.offset


def piece_at(pieces: list[Line], context_sum: int) -> Line:
    """The piece of a decode line that holds at ``context_sum``."""
    for piece in pieces:
        if context_sum < piece[2]:
            return piece
    return pieces[-1]


def floored(line: Line, context_sum: int, floor: float) -> Line:
    """``line`` where it exceeds ``floor`` seconds, else the floor up to where the line crosses it."""
    a, b, limit = line
    if a + b * context_sum >= floor:
        return line
    if b > 0.0:
        crossing = (floor - a) / b
        if crossing <= context_sum:  # the line meets the floor here, but for rounding
            return line
        if crossing < limit:
            limit = crossing
    return (floor, 0.0, limit)
