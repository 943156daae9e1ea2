"""What is delivered: pools of replicas, the model under its public name, and the figures they were chosen by."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.latency.host import HostMemory
from hasten.profiles import EngineProfile
from hasten.workload import Workload

_HUB = re.compile(r"(?:https://)?huggingface\.co/([\w.-]+/[\w.-]+)")

SERVE, PREFILL, DECODE = "serve", "prefill", "decode"


@dataclass(frozen=True)
class Pool:
    """Equal replicas with one task: SERVE, PREFILL or DECODE."""

    task: str
    deployment: Deployment

    @property
    def devices_per_replica(self) -> int:
        """Devices of one replica."""
        return self.deployment.parallelism.devices

    def host_memory(self, *writes: str) -> HostMemory | None:
        """Host memory for KV of each replica, if the engine can keep it as simulated; it knows the ways `writes`.

        Raises InputError where it can't.
        """
        host = self.deployment.host
        if host is None:
            return None
        asked = {"writes": host.writes, "reload": host.reload, "policy": host.policy}
        for name, known in (("writes", writes), ("reload", ("always",)), ("policy", ("lru",))):
            if asked[name] not in known:
                raise InputError(
                    f"host_kv_{name} {asked[name]}: {self.deployment.profile.engine} has no setting for it: "
                    f"simulate with {' or '.join(known)} to get files"
                )
        return host


@dataclass(frozen=True)
class Offer:
    """A deployment, the traffic it was chosen for, and what was predicted (keys with units).

    `policies` are those of the prediction, by role.
    """

    deployment: Deployment | Disaggregated
    work: Workload
    prediction: Mapping[str, Any]
    _: KW_ONLY
    policies: Mapping[str, Any] = field(default_factory=dict)
    rate: float | None = None  # requests/s

    @property
    def pools(self) -> tuple[Pool, ...]:
        """One pool, or prefill and decode."""
        if isinstance(self.deployment, Disaggregated):
            return Pool(PREFILL, self.deployment.prefill), Pool(DECODE, self.deployment.decode)
        return (Pool(SERVE, self.deployment),)

    @property
    def is_disaggregated(self) -> bool:
        """Whether prefill and decode have pools of their own."""
        return len(self.pools) > 1

    @property
    def profile(self) -> EngineProfile:
        """The engine and the version that was simulated."""
        return self.deployment.profile

    @cached_property
    def model_id(self) -> str:
        """The model's name on the hub; where its source names none, the name it has here."""
        found = _HUB.match(self.deployment.model.source)
        return found[1] if found else self.deployment.model.name

    @property
    def request_rate(self) -> float:
        """Requests per second that were predicted for."""
        return self.work.rate if self.rate is None else self.rate

    @property
    def mean_prompt(self) -> int:
        """Tokens of an average prompt."""
        return max(1, round(float(self.work.prompt_tokens.mean())))

    @property
    def mean_output(self) -> int:
        """Tokens of an average answer."""
        return max(1, round(float(self.work.output_tokens.mean())))

    @property
    def concurrency(self) -> int:
        """Requests in the deployment at once by Little's law: rate x (median TTFT + tokens x median TPOT)."""
        first, pace = (self.prediction.get(f"median_{name}_ms") for name in ("ttft", "tpot"))
        if first is None or not np.isfinite(self.request_rate):
            return max(1, 8 * sum(pool.deployment.replicas for pool in self.pools))
        seconds = (first + (pace or 0.0) * (self.mean_output - 1)) / 1e3
        return max(1, round(float(self.request_rate * seconds)))

    @cached_property
    def input_hashes(self) -> dict[str, str]:
        """SHA-256 of what the prediction rests on: the workload's columns, model, devices and engine as read."""
        columns = hashlib.sha256()
        for name in ("arrival", "prompt_tokens", "output_tokens", "block_ids"):
            column = getattr(self.work, name)
            columns.update(
                name.encode() + (b"" if column is None else np.ascontiguousarray(column).tobytes())
            )
        known = {"workload": columns.hexdigest(), "model": _digest(self.deployment.model)}
        for pool in self.pools:
            known[f"device_{pool.task}"] = _digest(pool.deployment.device)
            known[f"engine_{pool.task}"] = _digest(pool.deployment.profile)
        return known


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
