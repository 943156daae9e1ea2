"""Step time from data sheets: every kernel on its roofline, plus a fixed time per kernel.

seconds(kernel) = kernel_seconds + max(FLOPs / (phi F), bytes / (eta BW))

with the device's peak F and bandwidth BW and the shares phi and eta that large kernels reach. The fixed time
lowers the bandwidth that small kernels reach, so no separate curve over sizes is needed. Not modelled: the
last wave of thread blocks (wave quantisation), uneven contexts inside a batch, clock throttling, the cost of
dequantising.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hasten.errors import InputError
from hasten.hardware import Device, Link
from hasten.latency.attention import ATTENTION_FIXED
from hasten.latency.calibration import NEUTRAL, Calibration, Coefficients, relative_error
from hasten.latency.collectives import link_for, message_seconds, span_of
from hasten.latency.error import StepTimeError
from hasten.latency.expected import Expected, expected_error
from hasten.latency.forward import ForwardPass, forward_pass
from hasten.latency.parallelism import Parallelism
from hasten.latency.step_time import StepTime
from hasten.latency.work import Kernel, Message, Work
from hasten.models.shape import ModelShape
from hasten.profiles import EngineLimits, EngineProfile

if TYPE_CHECKING:
    from hasten.latency.compiled import MeasuredAttention, TableCost
    from hasten.latency.operators import MessageRate, Operator

#: Relative error that four of five analytical step times stay within, dense models and mixtures of experts: what
#: published times per output token of H100, H200 and B200 deployments show (docs/design/step-time.md). Other devices,
#: and steps that mostly prefill, are untested.
ERROR_DENSE, ERROR_EXPERTS = 0.25, 0.35

#: Major compute capabilities whose kernels pack the query heads of a KV head in pure decode batches only.
UNPACKED_CAPABILITIES = ("7", "8", "12")


@dataclass(frozen=True)
class AnalyticalModel:
    """Step times of ``model`` on ``device`` under an engine ``profile``, in seconds, from data sheets alone.

    ``limits`` holds the captured graph sizes and step limits (default: the engine's on this device).
    ``kv_dtype_bytes`` overrides the bytes of a cached element. ``sigma`` (0 to 1) is how much of the packing
    of query heads per KV head decode attention loses in a step that also prefills; the default is 0.5 on
    devices of compute capability 7, 8 and 12 (the middle of what is measured on two of them) and 0 elsewhere,
    where kernels pack in every batch or decode apart, which is an assumption. ``calibration`` corrects the
    seconds by what was measured.

    Raises InputError when the model can't be split as asked or its devices can't be joined.
    """

    model: ModelShape
    device: Device
    parallelism: Parallelism
    profile: EngineProfile
    limits: EngineLimits | None = field(default=None, kw_only=True)
    kv_dtype_bytes: float | None = field(default=None, kw_only=True)
    sigma: float | None = field(default=None, kw_only=True)
    calibration: Calibration | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0.0 <= self.sigma <= 1.0:
            raise InputError(f"sigma is {self.sigma!r}: give a share between 0 (always packed) and 1")
        self.parallelism.check(self.model)
        for message in self.forward.messages:
            self.link(message)

    @cached_property
    def forward(self) -> ForwardPass:
        """Operators, messages and attention of one pass on one device."""
        return forward_pass(self.model, self.parallelism, kv_dtype_bytes=self.kv_dtype_bytes)

    @cached_property
    def engine_limits(self) -> EngineLimits:
        """The limits given, else the engine's defaults on this device."""
        if self.limits is not None:
            return self.limits
        context = self.model.max_context or 1 << 20
        devices = self.parallelism.devices
        return self.profile.limits(self.device, context, tp=self.parallelism.tp, devices=devices)

    @cached_property
    def mixed_sigma(self) -> float:
        """Share of the packing lost in mixed steps: as given, or the default of the device's generation."""
        if self.sigma is not None:
            return self.sigma
        major = (self.device.compute_capability or "").partition(".")[0]
        return 0.5 if major in UNPACKED_CAPABILITIES else 0.0

    @property
    def error(self) -> float:
        """Relative error to expect of a step time: of the kind of step that is less sure, where that is known."""
        if self.calibration is None:
            return self.own_error
        return max(self.error_of(1, 0, 0), self.error_of(0, self.calibration.range.decodes_high, 0))

    @property
    def own_error(self) -> float:
        """Relative error to expect of a step time that nothing corrects."""
        return ERROR_EXPERTS if self.model.is_mixture else ERROR_DENSE

    @property
    def step_error(self) -> StepTimeError:
        """Errors of decodes and prefills, shared by all steps and of each alone: what intervals are made of."""
        if self.calibration is not None:
            return self.calibration.step_time_error(self.model.name, self.parallelism.label)
        return self._expected.error.widened(self.widening)

    @property
    def widening(self) -> float:
        """Factor on the spreads of the error: more than 1 where nothing measured stands behind it."""
        if self.calibration is not None:
            return 1.0
        stored = self.model.quantisation
        bits = 8 * self.model.dtype_bytes if stored is None else stored.weight_bits
        return self._expected.widening(self.device, bits)

    @property
    def extrapolation(self) -> str:
        """What of the deployment was never measured, "" where the error of its step times rests on such ones."""
        if self.widening == 1.0:
            return ""
        like = f"on a device like {self.device.name}"
        return f"of such weights {like}" if self._expected.knows(self.device) else like

    @property
    def is_extrapolated(self) -> bool:
        """Whether nothing measured of such weights on this kind of device stands behind the error of its step times."""
        return bool(self.extrapolation)

    @property
    def _expected(self) -> Expected:
        return expected_error(self.base, is_mixture=self.model.is_mixture)

    def error_of(self, prefill_tokens: int, decodes: int, decode_context: int) -> float:
        """Relative error to expect of one step, given its prefill tokens, decodes and the sum of their contexts."""
        if self.calibration is None:
            return self.own_error
        context = decode_context / decodes if decodes else 0.0
        label = self.parallelism.label
        found = self.calibration.spread(prefill_tokens, decodes, context, model=self.model.name, split=label)
        return relative_error(found)

    @property
    def coefficients(self) -> Coefficients:
        """What the calibration found; neutral without one."""
        return NEUTRAL if self.calibration is None else self.calibration.coefficients

    @property
    def own_offsets(self) -> tuple[float, float]:
        """The offsets before any calibration."""
        return self.profile.host_step_seconds, self.profile.mixed_step_seconds

    @property
    def offsets(self) -> tuple[float, float]:
        """Signed seconds added to every step, and to every step with a prefill besides."""
        (every, mixed), found = self.own_offsets, self.coefficients
        return every + found.step_seconds, mixed + found.mixed_seconds

    @property
    def origin(self) -> str:
        """Where the seconds come from."""
        return self.own_origin if self.calibration is None else "calibrated"

    @property
    def own_origin(self) -> str:
        """Where they come from before any calibration."""
        return "analytical"

    @property
    def base(self) -> str:
        """The kind of step times, as a calibration names it: analytical, layers or operators."""
        return "analytical"

    # -- what tables of measurements replace

    def operator_seconds(self, operator: Operator, units: Any) -> Any:
        """Seconds of all kernels of ``operator`` on ``units`` tokens or rows (an array)."""
        import numpy as np

        per_flop = self.flop_seconds(operator.dtype) / operator.compute_share
        arithmetic = operator.flops * per_flop * units
        moved = operator.weights_read(units) + operator.activation_bytes * units
        fixed = operator.launches * operator.fixed * self.kernel_seconds
        return fixed + np.maximum(arithmetic, moved * self.byte_seconds)

    def exchange_seconds(self, message: MessageRate, units: Any) -> Any:
        """Seconds of all messages of one kind on ``units`` tokens or rows (an array)."""
        import numpy as np

        one = message_seconds(message, self.link(message), message.bytes * units, np.minimum)
        return self.coefficients.communication * message.count * one

    @property
    def attention_fixed(self) -> float:
        """Fixed seconds of all attention kernels of a pass, whatever the contexts."""
        return self.forward.attention_launches * ATTENTION_FIXED * self.kernel_seconds

    def measured_attention(self, max_num_seqs: int, max_tokens: int) -> MeasuredAttention | None:
        """Measured attention of steps up to so many sequences and tokens; None: it is computed."""
        return None

    # -- kernels and messages

    @cached_property
    def byte_seconds(self) -> float:
        """Seconds per byte of device memory that a large kernel reaches."""
        return self.coefficients.memory * self.own_byte_seconds

    @property
    def own_byte_seconds(self) -> float:
        """The same before any calibration."""
        return 1.0 / (self.device.memory_efficiency * self.device.memory_bandwidth)

    @property
    def kernel_seconds(self) -> float:
        """Fixed seconds of a kernel inside a captured graph."""
        return self.coefficients.kernel * self.device.kernel_seconds

    @cached_property
    def _flop_seconds(self) -> dict[str, float]:
        return {}

    def flop_seconds(self, dtype: str) -> float:
        """Seconds per FLOP that a large kernel reaches with operands of ``dtype``."""
        if dtype not in self._flop_seconds:
            self._flop_seconds[dtype] = self.coefficients.compute / self.device.reached_flops(dtype)
        return self._flop_seconds[dtype]

    @cached_property
    def _links(self) -> dict[int, Link]:
        return {}

    def link(self, message: Message | MessageRate) -> Link:
        """The link that a message travels on."""
        span = span_of(message, self.parallelism)
        if span not in self._links:
            self._links[span] = link_for(self.device, span)
        return self._links[span]

    def _kernel_time(self, kernel: Kernel) -> StepTime:
        fixed = kernel.launches * kernel.fixed * self.kernel_seconds
        arithmetic = kernel.flops * self.flop_seconds(kernel.dtype) / kernel.compute_share
        memory = kernel.bytes * self.byte_seconds
        if arithmetic >= memory:
            return StepTime(launches=fixed, compute=kernel.slowdown * arithmetic)
        per_byte = kernel.slowdown * self.byte_seconds
        return StepTime(
            launches=fixed,
            weights=per_byte * kernel.weight_bytes,
            kv=per_byte * kernel.kv_bytes,
            compute=per_byte * kernel.activation_bytes,
        )

    def device_time(self, work: Work) -> StepTime:
        """Seconds the device is busy with ``work``, without the engine's host side."""
        times = [self._kernel_time(kernel) for kernel in work.kernels]
        exchanged = self.coefficients.communication * sum(
            message.count * message_seconds(message, self.link(message), message.bytes)
            for message in work.messages
        )
        return StepTime(
            weights=sum(each.weights for each in times),
            kv=sum(each.kv for each in times),
            compute=sum(each.compute for each in times),
            communication=exchanged,
            launches=sum(each.launches for each in times),
            error=self.error,
        )

    # -- steps

    def padded_tokens(self, tokens: int, *, has_prefill: bool) -> int:
        """Tokens the dense layers run on: the next captured graph size, or ``tokens`` without a graph."""
        sizes = self.graph_sizes(has_prefill=has_prefill)
        place = bisect_left(sizes, tokens)
        return sizes[place] if place < len(sizes) else tokens

    def graph_sizes(self, *, has_prefill: bool) -> tuple[int, ...]:
        """Captured sizes in tokens, rising, of steps with or without a prefill; empty without graphs."""
        limits = self.engine_limits
        return limits.prefill_graph_sizes if has_prefill else limits.graph_sizes

    def host_floor(self, tokens: int, *, has_prefill: bool) -> float:
        """Seconds the host needs to launch a step of ``tokens`` (per micro-batch) on all stages.

        A uniform decode batch up to max_num_seqs is one graph; other steps that fit a graph launch attention
        eagerly between graph pieces; larger ones launch everything. The head and sampler are always launched.
        """
        sizes = self.graph_sizes(has_prefill=has_prefill)
        if not sizes or tokens > sizes[-1]:
            return self.eager_floor
        pieces = 1 + self.forward.row_launches
        padded = self.padded_tokens(tokens, has_prefill=has_prefill)
        if has_prefill or padded > self.engine_limits.max_num_seqs:
            pieces += 2 * self.forward.attention_launches
        return pieces * self.device.launch_seconds

    @property
    def eager_floor(self) -> float:
        """Seconds the host needs for a step that runs in no graph: every kernel passes through the framework."""
        each = max(self.profile.eager_kernel_seconds, self.device.launch_seconds)
        return self.forward.launches * each

    def work(
        self,
        prefills: Sequence[tuple[int, int]] = (),
        decodes: int = 0,
        decode_context: int = 0,
        *,
        group_tokens: int | None = None,
    ) -> Work:
        """Work of a step on one device, graph padding included (see `step_time` for the arguments)."""
        return self.forward.work(
            prefills,
            decodes,
            decode_context,
            padded_tokens=self.padded_tokens(
                self._micro_tokens(prefills, decodes), has_prefill=bool(prefills)
            ),
            group_tokens=group_tokens,
            sigma=self.mixed_sigma,
            decode_factor=self.coefficients.kv,
        )

    def _micro_tokens(self, prefills: Sequence[tuple[int, int]], decodes: int) -> int:
        tokens = decodes + sum(new for new, _ in prefills)
        return -(-tokens // self.forward.micro_batches(decodes + len(prefills)))

    def step_time(
        self,
        prefills: Sequence[tuple[int, int]] = (),
        decodes: int = 0,
        decode_context: int = 0,
        *,
        group_tokens: int | None = None,
    ) -> StepTime:
        """Seconds of a step: prefill chunks as (tokens, context), decodes and the sum of their contexts.

        ``group_tokens`` is the tokens of all data-parallel ranks when they share experts (default: this
        rank's alone). Raises InputError for an empty step and for negative counts.
        """
        self._check_step(prefills, decodes, decode_context)
        work = self.work(prefills, decodes, decode_context, group_tokens=group_tokens)
        return self._with_host(self.device_time(work), prefills, decodes, decode_context)

    def _check_step(self, prefills: Sequence[tuple[int, int]], decodes: int, decode_context: int) -> None:
        if decodes < 0 or decode_context < 0 or any(new < 1 or past < 0 for new, past in prefills):
            raise InputError(
                f"step of {decodes} decodes, context {decode_context}, chunks {list(prefills)!r}: "
                "give chunks of at least 1 token and no negative count"
            )
        if not decodes and not prefills:
            raise InputError("step is empty: give prefill chunks or decodes")

    def _with_host(
        self, busy: StepTime, prefills: Sequence[tuple[int, int]], decodes: int, decode_context: int
    ) -> StepTime:
        """A step whose device is busy for ``busy``: at least as long as the host takes to launch it."""
        tokens = self._micro_tokens(prefills, decodes)
        sequences = decodes + len(prefills)
        rows = -(-sequences // self.forward.micro_batches(sequences))
        per_sequence = self.coefficients.sequence_seconds * rows
        floor = self.host_floor(tokens, has_prefill=bool(prefills))
        waiting = max(0.0, floor - busy.seconds - per_sequence)
        every, mixed = self.offsets
        offset = per_sequence + every + (mixed if prefills else 0.0)
        return StepTime(
            weights=busy.weights,
            kv=busy.kv,
            compute=busy.compute,
            communication=busy.communication,
            launches=busy.launches,
            host=waiting + offset,
            origin=self.origin,
            error=self.error_of(sum(new for new, _ in prefills), decodes, decode_context),
        )

    def compile(
        self, max_num_seqs: int | None = None, max_num_batched_tokens: int | None = None
    ) -> TableCost:
        """The same step times as lists for the simulator, up to the given limits (default: the engine's)."""
        from hasten.latency.compiling import compile_tables

        limits = self.engine_limits
        seqs = limits.max_num_seqs if max_num_seqs is None else max_num_seqs
        tokens = limits.max_num_batched_tokens if max_num_batched_tokens is None else max_num_batched_tokens
        if seqs < 1 or tokens < 1 or not math.isfinite(seqs + tokens):
            raise InputError(f"compile for {seqs} sequences and {tokens} tokens: give at least 1 of each")
        return compile_tables(self, seqs, tokens)
