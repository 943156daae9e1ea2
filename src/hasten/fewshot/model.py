"""Step times of a device nobody has measured: its data sheet, corrected as the devices that were measured are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hasten.fewshot.learning import Learned, Observed, TimedStep, learn
from hasten.fewshot.parts import MESSAGE, Floats, Parts, decode, prefill, product, step_parts, uncorrected
from hasten.fewshot.pool import Pool, load_pool
from hasten.latency import AnalyticalModel
from hasten.latency.analytical import ERROR_DENSE, ERROR_EXPERTS
from hasten.latency.compiled import MeasuredAttention
from hasten.latency.operators import MessageRate, Operator
from hasten.latency.tables import TableModel

CONTEXTS = tuple(2**i for i in range(4, 18))
PASTS = (0, 1024, 4096, 16384, 65536, 131072)


class PoolTable:
    """Attention as a table, the form in which models take it."""

    includes_router = False

    def __init__(self, model: PoolModel) -> None:
        self._model = model

    def has(self, layer: str) -> bool:
        """Whether a layer's time is known: every layer's is."""
        return True

    def has_attention(self) -> bool:
        """Whether attention's is: always."""
        return True

    def attention(self, layers: int, max_num_seqs: int, max_tokens: int) -> MeasuredAttention:
        """Attention of all layers, for the simulator."""
        model = self._model
        counts = np.maximum(np.arange(max_num_seqs + 1, dtype=np.float64), 1.0)[:, None]
        rows = model.corrected(decode(model.sheet, counts, np.array(CONTEXTS, dtype=np.float64)))
        rows = np.maximum.accumulate(rows, axis=1)  # more cached tokens never cost less
        rows[0] = 0.0
        decoding = np.concatenate([rows[:, :1], rows], axis=1)
        slower = max(each.mixed_slowdown(model.mixed_sigma) for each in model.forward.attentions)
        chunks = sorted({*(2**i for i in range(15) if 2**i < max_tokens), max_tokens})
        times = [
            [float(model.corrected(prefill(model.sheet, new, past))) for past in PASTS] for new in chunks
        ]
        tokens = np.log(np.maximum(np.arange(max_tokens + 1, dtype=np.float64), 1.0))
        behind = [
            np.exp(np.interp(tokens, np.log(chunks), np.log(column))) for column in zip(*times, strict=True)
        ]
        return MeasuredAttention(
            [0, *CONTEXTS],
            decoding.tolist(),
            beside=([1], (slower * decoding)[:, None, :].tolist()),
            prefill=(list(PASTS), np.stack(behind, axis=1).tolist()),
        )


@dataclass(frozen=True)
class PoolModel(TableModel):
    """Step times in seconds from the data sheet, every kernel corrected as the pool of measured devices is.

    The weights are those that a calibration learnt of this device (see `learn_device`), without one the mean of the
    pool. The device's own efficiencies are not used. ``devices`` are the devices of the pool (default: all).
    """

    devices: tuple[str, ...] | None = field(default=None, kw_only=True)

    @cached_property
    def pool(self) -> Pool:
        """The devices that were measured."""
        whole = load_pool()
        hidden = () if self.devices is None else set(whole.weights) - set(self.devices)
        return whole.without(*hidden) if hidden else whole

    @cached_property
    def sheet(self) -> AnalyticalModel:
        """The same steps from the data sheet alone."""
        return AnalyticalModel(
            self.model,
            uncorrected(self.device),
            self.parallelism,
            self.profile,
            limits=self.engine_limits,
            kv_dtype_bytes=self.kv_dtype_bytes,
            sigma=self.mixed_sigma,
        )

    @cached_property
    def table(self) -> Any:
        return PoolTable(self)

    @cached_property
    def _weights(self) -> Floats:
        learnt = () if self.calibration is None else self.calibration.pool_weights
        return np.array(learnt) if learnt else self.pool.mean

    def corrected(self, parts: Parts) -> Floats:
        """Seconds of kernels, corrected."""
        found: Floats = parts.seconds * np.exp(np.clip(self.pool.log_factor(parts, self._weights), -5.0, 5.0))
        return found

    def operator_seconds(self, operator: Operator, units: Any) -> Any:
        units = np.asarray(units, dtype=np.float64)
        found = self.corrected(product(self.sheet, operator, units)) * self._factor(operator, units)
        return np.where(units > 0, np.maximum(found, self.data_sheet_seconds(operator, units)), 0.0)

    def exchange_seconds(self, message: MessageRate, units: Any) -> Any:
        factor = float(np.exp(self._weights[self.pool.offsets[MESSAGE]]))
        return factor * AnalyticalModel.exchange_seconds(self, message, units)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        return ()

    @property
    def outliers(self) -> tuple[str, ...]:
        return ()

    @property
    def own_offsets(self) -> tuple[float, float]:
        return self.profile.host_step_seconds, self.profile.mixed_step_seconds

    @property
    def base(self) -> str:
        return "pool"

    @property
    def own_origin(self) -> str:
        return "pool"

    @property
    def own_error(self) -> float:
        return ERROR_EXPERTS if self.model.is_mixture else ERROR_DENSE


def observed(model: PoolModel, step: TimedStep) -> Observed:
    """A timed step as the fit needs it."""
    tokens = step.decodes + sum(new for new, _ in step.prefills)
    parts = step_parts(model.sheet, step.prefills, step.decodes, step.decode_context)
    floor = model.host_floor(tokens, has_prefill=bool(step.prefills))
    return Observed(parts, bool(step.prefills), floor)


def learn_device(model: PoolModel, samples: Sequence[TimedStep]) -> Learned:
    """What timed steps tell about the device of ``model``: weights, seconds added to steps, and how sure they are.

    Raises InputError for times that can't be.
    """
    every, mixed = model.own_offsets
    offsets = np.array([every + mixed * bool(each.prefills) for each in samples])
    seconds = np.array([each.seconds for each in samples])
    return learn(
        model.pool, [observed(model, each) for each in samples], np.maximum(seconds - offsets, 0.1 * seconds)
    )
