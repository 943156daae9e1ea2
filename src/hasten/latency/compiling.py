"""From an analytical model to the tables the simulator reads: every step time, computed once."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hasten.latency.attention import ATTENTION_COMPUTE_SHARE
from hasten.latency.compiled import (
    UNLIMITED,
    AttentionRates,
    Line,
    LockstepCost,
    MeasuredAttention,
    TableCost,
)

if TYPE_CHECKING:
    from hasten.latency.analytical import AnalyticalModel
    from hasten.latency.operators import Unit


class Compiler:
    """Builds the tables of ``model`` for steps up to ``max_num_seqs`` sequences and ``max_tokens`` tokens."""

    def __init__(self, model: AnalyticalModel, max_num_seqs: int, max_tokens: int) -> None:
        self.model = model
        self.max_num_seqs = max_num_seqs
        self.max_tokens = max(max_num_seqs, max_tokens)
        self.stages = model.forward.stages

    def table(self) -> TableCost:
        """The compiled model: a LockstepCost when its data-parallel ranks share experts."""
        model = self.model
        every, mixed = model.offsets
        sizes = model.graph_sizes(has_prefill=True)
        graph_tokens = sizes[-1] if sizes else 0
        has_graph = bool(sizes)
        own = self._mixed_own
        dense = own + self._shared[: len(own)] if model.parallelism.is_lockstep else own
        table = TableCost(
            self._decode_lines(),
            dense.tolist(),
            self._head.tolist(),
            rates=self.rates,
            stages=self.stages,
            graph_tokens=graph_tokens,
            host_graph=model.host_floor(1, has_prefill=True) if has_graph else 0.0,
            host_eager=model.eager_floor,
            offset=every + mixed,
            measured=self.measured,
        )
        if not model.parallelism.is_lockstep:
            return table
        return LockstepCost(
            table,
            self._shared.tolist(),
            own=own.tolist(),
            attention_lines=[self._attention_pieces(n) for n in range(self.max_num_seqs + 1)],
            decode_own=[(self._decode_own(n), self._decode_floor(n)) for n in range(self.max_num_seqs + 1)],
            decode_offset=every,
        )

    # -- by token count

    def _seconds(self, unit: Unit, most: int, per_unit: float = 0.0) -> Any:
        """Seconds of all operators and messages counted in ``unit``, for 0 to ``most`` of them."""
        import numpy as np

        model = self.model
        units = np.arange(most + 1, dtype=np.float64)
        total = per_unit * units
        for operator in model.forward.operators:
            if operator.unit == unit:
                total += model.operator_seconds(operator, units)
        for message in model.forward.messages:
            if message.unit == unit:
                total += model.exchange_seconds(message, units)
        return total

    @cached_property
    def _own(self) -> Any:
        """Seconds of this rank's dense layers on t tokens, with the fixed time of attention kernels."""
        sizes = (*self.model.graph_sizes(has_prefill=False), *self.model.graph_sizes(has_prefill=True))
        most = max(self.max_tokens, *sizes, 0)
        return self._seconds("token", most) + self.model.attention_fixed

    @cached_property
    def _mixed_own(self) -> Any:
        """The same for a mixed step of t tokens, padded to a captured size where there is a graph."""
        import numpy as np

        padded = np.arange(self.max_tokens + 1)
        sizes = self.model.graph_sizes(has_prefill=True)
        if sizes:
            fits = min(sizes[-1], self.max_tokens)
            captured = np.asarray(sizes)
            padded[: fits + 1] = captured[np.searchsorted(captured, padded[: fits + 1])]
        return self._own[padded]

    @cached_property
    def _shared(self) -> Any:
        """Seconds of experts and their exchange, by the tokens of all ranks."""
        return self._seconds("group", self.max_tokens * self.model.parallelism.dp)

    @cached_property
    def _head(self) -> Any:
        """Seconds of the output head and sampler and of what goes by sequences, by rows."""
        per_row = self.model.coefficients.sequence_seconds
        return self._seconds("row", self.max_num_seqs, per_unit=per_row)

    @cached_property
    def measured(self) -> MeasuredAttention | None:
        return self.model.measured_attention(self.max_num_seqs, self.max_tokens)

    # -- decode lines

    def _parts(self, n: int) -> int:
        return self.model.forward.micro_batches(n)

    def _decode_own(self, n: int) -> float:
        """Seconds of a decode step of n sequences without attention to contexts and shared experts."""
        micro = -(-n // self._parts(n))
        padded = self.model.padded_tokens(micro, has_prefill=False)
        return float(self._own[padded] + self._head[micro])

    def _decode_floor(self, n: int) -> float:
        return self.model.host_floor(-(-n // self._parts(n)), has_prefill=False)

    def _decode_lines(self) -> list[list[Line]]:
        lines = []
        for n in range(self.max_num_seqs + 1):
            base = self._decode_own(n)
            if self.model.parallelism.is_lockstep:
                base += float(self._shared[-(-n // self._parts(n))])
            lines.append(
                raised(
                    self._attention_pieces(n),
                    base,
                    floor=self._decode_floor(n),
                    offset=self.model.offsets[0],
                )
            )
        return lines

    @cached_property
    def rates(self) -> list[AttentionRates]:
        """Seconds per pair, key and query of every kind of attention layer; none where it is measured."""
        if self.measured is not None:
            return []
        per_byte, decode = self.model.byte_seconds, self.model.coefficients.kv
        found = []
        for each in self.model.forward.attentions:
            per_flop = self.model.flop_seconds(each.dtype) / ATTENTION_COMPUTE_SHARE
            found.append(
                (
                    each.window,
                    each.pair_flops * per_flop,
                    each.past_flops * per_flop,
                    each.seen_bytes * per_byte,
                    each.new_bytes * per_byte,
                    decode * each.decode_pair_flops * per_flop,
                    decode * each.decode_seen_bytes * per_byte,
                    decode * each.decode_new_bytes * per_byte,
                    each.mixed_slowdown(self.model.mixed_sigma),
                )
            )
        return found

    def _attention_pieces(self, n: int) -> list[Line]:
        """Decode attention of n sequences as lines in the sum of contexts, beyond the fixed time of kernels.

        It bends where mean context + 1 reaches a window, and where arithmetic overtakes memory traffic.
        """
        if self.measured is not None:
            return self.measured.lines(n, 1.0 / self._parts(n))
        bends = set()
        for window, _, _, _, _, flops, moved, query, _ in self.rates:
            if window < UNLIMITED:
                bends.add(float(n * (window - 1)))
            if flops > moved:
                bends.add(query * n / (flops - moved) - n)
        edges = [*sorted(bend for bend in bends if bend > 0.0), math.inf]
        pieces = []
        start = 0.0
        for edge in edges:
            inside = start + 1.0 if edge == math.inf else 0.5 * (start + edge)
            a, b = self._attention_line(n, inside)
            pieces.append((a, b, edge))
            start = edge
        return pieces

    def _attention_line(self, n: int, inside: float) -> tuple[float, float]:
        """Line of decode attention of n sequences in the piece that holds the context sum ``inside``."""
        share = 1.0 / self._parts(n)
        a = b = 0.0
        for window, _, _, _, _, flops, moved, query, _ in self.rates:
            is_full = inside + n >= n * window
            keys = n * window if is_full else inside + n
            per_key, rest = (flops, 0.0) if flops * keys > moved * keys + query * n else (moved, query * n)
            # keys = S + n below the window, n * window above it
            a += share * (per_key * n * (window if is_full else 1) + rest)
            b += 0.0 if is_full else share * per_key
        return a, b


def raised(pieces: list[Line], base: float, *, floor: float, offset: float) -> list[Line]:
    """Pieces of the larger of (a line + ``base``) and ``floor``, plus ``offset``; the line must not fall."""
    found: list[Line] = []
    for a, b, limit in pieces:
        a += base
        crossing = (floor - a) / b if b > 0.0 else (math.inf if a < floor else 0.0)
        start = found[-1][2] if found else 0.0
        if crossing >= limit:
            found.append((floor + offset, 0.0, limit))
            continue
        if crossing > start:
            found.append((floor + offset, 0.0, crossing))
        found.append((a + offset, b, limit))
    return found


def compile_tables(model: AnalyticalModel, max_num_seqs: int, max_num_batched_tokens: int) -> TableCost:
    """Tables of ``model`` for steps up to ``max_num_seqs`` sequences and ``max_num_batched_tokens``."""
    return Compiler(model, max_num_seqs, max_num_batched_tokens).table()
