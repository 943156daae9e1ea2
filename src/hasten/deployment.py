"""A deployment: what is served, on what, with which settings; from it follow limits, KV room, costs and price."""

from __future__ import annotations

import difflib
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path

from hasten.core.limits import Limits
from hasten.errors import InputError
from hasten.hardware import Device, load_device, load_link
from hasten.latency import AnalyticalModel, Parallelism, TableCost
from hasten.latency.calibration import Calibration, load_calibration
from hasten.latency.host import RELOADS, WRITES, HostMemory
from hasten.latency.memory import KVCapacity, kv_capacity
from hasten.latency.messages import MESSAGES
from hasten.models import ModelShape, load_model
from hasten.profiles import EngineLimits, EngineProfile, load_profile
from hasten.profiles.overrides import SETTINGS

KV_DTYPES = {"auto": None, "fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0}
"""Bytes per cached element by name; auto: as the checkpoint says."""

MAX_REPLICAS = 100_000
"""Schedulers of one deployment (replicas x dp), at most."""

STEP_TIMES = ("auto", "table", "analytical", "pool")
"""Where step times come from: measured layers or operators, data sheets, other measured devices (pool), or (auto)
measured layers where there are any and data sheets elsewhere."""


@dataclass(frozen=True)
class Deployment:
    """``replicas`` equal replicas of ``model`` on ``device``, each split by ``parallelism``, under one engine.

    Settings that are None keep the engine's default on this device. Raises InputError when the model can't be
    split as asked or a setting is out of range; `kv` raises it when the model doesn't fit the memory.
    `Deployment.of` takes names instead of objects.
    """

    model: ModelShape
    device: Device
    parallelism: Parallelism
    replicas: int
    profile: EngineProfile
    _: KW_ONLY
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None  # tokens in one step
    max_model_len: int | None = None  # tokens of prompt and output
    block_size: int | None = None  # tokens per KV block
    chunk_tokens: int | None = None  # prefill tokens in one step, where the engine bounds them apart
    long_prefill_token_threshold: int | None = None  # prefill tokens per request and step; 0: no limit
    prefix_caching: bool | None = None
    chunked_prefill: bool | None = None
    memory_fraction: float | None = None  # in the engine's own meaning
    watermark: float | None = None  # share of the blocks kept free at admission
    kv_dtype: str = "auto"
    kv_cache_tokens: int | None = (
        None  # of one replica, as the engine logged it: replaces the computed capacity
    )
    host_kv_bytes: int = 0  # host memory of one replica for KV that leaves the devices; 0: none
    host_kv_writes: str | None = None  # one of hasten.latency.host.WRITES
    host_kv_reload: str = "always"  # one of RELOADS there
    host_kv_messages: str = "layer"  # one of hasten.latency.messages.MESSAGES
    host_kv_link: str | None = None  # a link's name or file; None: the device's host link
    host_kv_policy: str = "lru"  # the cache policy that says what stays in host memory
    typical_context: int | None = None  # tokens of an ordinary sequence, for the capacity of sliding windows
    price_per_hour_per_device: float | None = None  # dollars; None: the device's price
    sigma: float | None = None  # see AnalyticalModel
    step_times: str = "auto"  # one of STEP_TIMES
    calibration: Calibration | None = None  # corrects step times; `of` takes its file too
    offline: bool = False  # defaults of the engine's batch entry point instead of its server

    def __post_init__(self) -> None:
        if isinstance(self.replicas, bool) or not isinstance(self.replicas, int) or self.replicas < 1:
            raise InputError(f"replicas is {self.replicas!r}: give a whole number of at least 1")
        if self.replicas * self.parallelism.dp > MAX_REPLICAS:
            raise InputError(
                f"{self.replicas:,} replicas of dp {self.parallelism.dp:,} are more than {MAX_REPLICAS:,} schedulers: "
                "give fewer, and their share of the traffic"
            )
        if self.kv_dtype not in KV_DTYPES:
            raise InputError(f"kv_dtype {self.kv_dtype!r} is unknown: use one of {', '.join(KV_DTYPES)}")
        if self.step_times not in STEP_TIMES:
            raise InputError(f"step_times {self.step_times!r} is unknown: use one of {', '.join(STEP_TIMES)}")
        price = self.price_per_hour_per_device
        if price is not None and not 0.0 <= price < 1e6:
            raise InputError(f"price per hour and device is {price!r}: give dollars between 0 and 1e6")
        if self.calibration is not None:
            self.calibration.check(self.device.name, self.profile.name)
        self._check_host()
        # Both raise on settings that can't be; neither is costly, and both are kept.
        _ = self.limits, self.latency

    @classmethod
    def of(
        cls,
        model: str | Path | ModelShape,
        device: str | Path | Device,
        *,
        tp: int = 1,
        pp: int = 1,
        dp: int = 1,
        ep: int = 1,
        replicas: int = 1,
        engine: str | Path | EngineProfile = "vllm",
        **settings: object,
    ) -> Deployment:
        """A deployment from names or files of model, device and engine; ``settings`` are the other fields.

        Raises InputError for an unknown name or setting.
        """
        known = [each.name for each in fields(cls) if each.kw_only]
        for name in settings:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known settings are {', '.join(known)}"
                raise InputError(f"setting {name!r} of a deployment is unknown: {hint}")
        if isinstance(settings.get("calibration"), str | Path):
            settings["calibration"] = load_calibration(settings["calibration"])  # type: ignore[arg-type]
        return cls(
            model if isinstance(model, ModelShape) else load_model(model),
            device if isinstance(device, Device) else load_device(device),
            Parallelism(tp, pp, dp=dp, ep=ep),
            replicas,
            engine if isinstance(engine, EngineProfile) else load_profile(engine),
            **settings,  # type: ignore[arg-type]
        )

    @cached_property
    def limits(self) -> EngineLimits:
        """Limits of the engine on each rank: its defaults on this device after the settings given here."""
        given = {name: getattr(self, name) for name in SETTINGS}
        context = self.model.max_context or self.max_model_len
        if not context:
            raise InputError(f"{self.model.name} states no context length: give max_model_len")
        return self.profile.limits(
            self.device,
            context,
            self.offline,
            tp=self.parallelism.tp,
            devices=self.parallelism.devices,
            **given,
        )

    @cached_property
    def kv(self) -> KVCapacity:
        """Room for KV on each rank, with its formula. Raises InputError when the model doesn't fit."""
        return kv_capacity(
            self.model,
            self.device,
            self.parallelism,
            self.profile,
            self.limits,
            kv_dtype_bytes=KV_DTYPES[self.kv_dtype],
            kv_cache_tokens=self.kv_cache_tokens,
            typical_context=self.typical_context,
        )

    def _check_host(self) -> None:
        """Raises InputError for host memory settings that can't be."""
        size = self.host_kv_bytes
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 1 << 60:
            raise InputError(
                f"host_kv_bytes is {size!r}: give whole bytes from 0 to 2**60, such as 64 * 2**30"
            )
        for name, known in (("writes", WRITES), ("reload", RELOADS), ("messages", MESSAGES)):
            given = getattr(self, f"host_kv_{name}")
            if given not in known and (given is not None or name != "writes"):
                raise InputError(f"host_kv_{name} {given!r} is unknown: use one of {', '.join(known)}")

    @cached_property
    def host(self) -> HostMemory | None:
        """Host memory of each rank for KV; None without any. Raises InputError when it is less than a block."""
        if not self.host_kv_bytes:
            return None
        size = self.limits.block_size
        per_block = size * float(self.model.kv_bytes_per_token(KV_DTYPES[self.kv_dtype]))
        blocks = int(self.host_kv_bytes / self.parallelism.dp // per_block)
        if not blocks:
            raise InputError(
                f"host_kv_bytes is {self.host_kv_bytes:,}: a KV block takes {per_block:,.0f} bytes on each of "
                f"{self.parallelism.dp} ranks: give more, or 0 for no host memory"
            )
        return HostMemory(
            num_blocks=blocks,
            block_size=size,
            block_bytes=per_block,
            link=load_link(self.host_kv_link or self.device.host_link),
            lanes=self.parallelism.tp * self.parallelism.pp,
            layers=self.model.num_layers,
            messages=self.host_kv_messages,
            writes=self.host_kv_writes or self.profile.host_kv_writes,
            reload=self.host_kv_reload,
            policy=self.host_kv_policy,
        )

    @cached_property
    def scheduler_limits(self) -> Limits:
        """The same limits as the scheduler of one rank takes them, KV blocks included."""
        limits, profile, blocks = self.limits, self.profile, self.kv.usable_blocks
        return Limits(
            num_blocks=blocks,
            block_size=limits.block_size,
            max_num_seqs=limits.max_num_seqs,
            max_num_batched_tokens=limits.max_num_batched_tokens,
            max_model_len=limits.max_model_len,
            prefix_caching=limits.prefix_caching,
            chunked_prefill=limits.chunked_prefill,
            mixed_steps=profile.mixed_steps,
            long_prefill_token_threshold=limits.long_prefill_token_threshold,
            reserve_full_sequence=profile.reserve_full_sequence,
            watermark_blocks=int(limits.watermark * blocks),
            admission=profile.admission,
            preemption=profile.preemption,
            new_token_ratio=profile.new_token_ratio,
            min_token_ratio=profile.min_token_ratio,
            ratio_decay_steps=profile.ratio_decay_steps,
            clip_max_tokens=profile.clip_max_tokens,
        )

    @cached_property
    def latency(self) -> AnalyticalModel:
        """The step-time model of one rank, with the breakdown of every step."""
        kind: type[AnalyticalModel] = AnalyticalModel
        if self._source == "pool":
            from hasten.fewshot.model import PoolModel

            kind = PoolModel
        elif self._is_measured:
            from hasten.latency.tables import TableModel

            kind = TableModel
        made = kind(
            self.model,
            self.device,
            self.parallelism,
            self.profile,
            limits=self.limits,
            kv_dtype_bytes=KV_DTYPES[self.kv_dtype],
            sigma=self.sigma,
            calibration=self.calibration,
        )
        if self.calibration is not None and made.base != self.calibration.subject.base:
            raise InputError(
                f"calibration corrects {self.calibration.subject.base} step times, these are {made.base}: "
                "calibrate for this model, or leave --latency and --calibration out"
            )
        return made

    @property
    def _source(self) -> str:
        """The step times asked for; with a calibration, those that it was fitted to."""
        if self.calibration is None or self.step_times != "auto":
            return self.step_times
        base = self.calibration.subject.base
        return base if base in STEP_TIMES else "table"

    @property
    def _is_measured(self) -> bool:
        """Whether step times come from measurements. Raises InputError when they were asked for and can't."""
        wanted = self._source
        if wanted == "analytical":
            return False
        from hasten.latency.tables import why_not

        deployed = self.model, self.device, self.parallelism, self.profile
        reason = why_not(deployed, kv_dtype=self.kv_dtype, operators=wanted == "table")
        if reason is None and self.sigma is not None:
            reason = "sigma is given, which measured attention has no use for"
        if reason is not None and wanted == "table":
            raise InputError(f"no measured step times: {reason}: use step_times analytical or auto")
        return reason is None

    @property
    def front_end(self) -> tuple[float, float]:
        """Seconds that a request spends before it reaches the engine: fixed, and per prompt token."""
        profile, found = self.profile, self.latency.coefficients
        return (
            max(0.0, profile.front_end_seconds + found.front_end_seconds),
            max(0.0, profile.front_end_seconds_per_prompt_token + found.front_end_token_seconds),
        )

    @property
    def cost(self) -> TableCost:
        """The step-time model compiled for the simulator; shared by deployments that differ in replicas only."""
        return _compiled(self.latency)

    @property
    def devices(self) -> int:
        """Devices of all replicas."""
        return self.replicas * self.parallelism.devices

    @property
    def price_per_hour(self) -> float | None:
        """Dollars per hour of all devices; None without a price."""
        price = self.price_per_hour_per_device
        if price is None:
            price = self.device.price_per_hour
        return None if price is None else price * self.devices

    @property
    def kv_text(self) -> str:
        """Room for KV in one replica, in tokens, with that of its host memory."""
        host = self.host
        return f"{self.kv.tokens:,}" + (f" + {host.num_blocks * host.block_size:,} (host)" if host else "")

    @property
    def label(self) -> str:
        """Short name in plans, such as ``2 x [h100-sxm tp4]``."""
        return f"{self.replicas} x [{self.device.name} {self.parallelism.label}]"

    def with_replicas(self, replicas: int) -> Deployment:
        """The same deployment with another number of replicas."""
        return replace(self, replicas=replicas)


@lru_cache(maxsize=64)
def _compiled(latency: AnalyticalModel) -> TableCost:
    return latency.compile()
