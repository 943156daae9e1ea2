"""Recorded runs of real engines, request by request, as shipped in `runs/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.workload import Workload

_FOLDER = Path(__file__).parent / "runs"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Latencies:
    """Per request, in seconds: engine-side TTFT and E2E (from when the engine took it in), TPOT; NaN: one token.

    ``span`` is the time from the first intake to the last token, ``tokens`` the output tokens of all requests.
    """

    ttft: Floats
    tpot: Floats
    e2e: Floats
    span: float
    tokens: int

    @property
    def throughput(self) -> float:
        """Output tokens per second."""
        return self.tokens / self.span


def latencies(queued: Floats, first: Floats, last: Floats, output_tokens: Any) -> Latencies:
    """The latencies of requests from their engine stamps (s) and output tokens."""
    output = np.asarray(output_tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(output > 1, (last - first) / (output - 1), np.nan)
    return Latencies(
        ttft=first - queued,
        tpot=tpot,
        e2e=last - queued,
        span=float(last.max() - queued.min()),
        tokens=int(output.sum()),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedRun:
    """One run of a real engine: what was served on what, the requests, and what was measured.

    ``about`` holds model, device, engine, parallel sizes, settings and provenance. ``rival`` is another
    simulator's own prediction of this run, published with the record. ``stamps`` are engine times (queued,
    scheduled, first_token, last_token) in seconds from the first arrival.
    """

    name: str
    about: dict[str, Any]
    work: Workload
    rival: Latencies
    stamps: Mapping[str, Floats]

    @cached_property
    def measured(self) -> Latencies:
        """What the engine's stamps say."""
        stamps = self.stamps
        output = self.work.output_tokens
        return latencies(stamps["queued"], stamps["first_token"], stamps["last_token"], output)

    @property
    def cached_tokens(self) -> npt.NDArray[np.int64]:
        """Prompt tokens of each request whose blocks an earlier one had: hits in a cache that forgets nothing.

        Whole blocks only, and never all of a prompt: its last token is always computed.
        """
        seen: set[int] = set()
        found = []
        for row, prompt in enumerate(self.work.prompt_tokens.tolist()):
            hits = 0
            blocks = self.work.blocks_of(row)
            for block in blocks[: (prompt - 1) // self.work.block_tokens]:
                if block not in seen:
                    break
                hits += 1
            seen.update(blocks)
            found.append(hits * self.work.block_tokens)
        return np.array(found, dtype=np.int64)

    @property
    def kv_cache_tokens(self) -> int | None:
        """Capacity in tokens that the engine logged; None when it was not recorded."""
        known: int | None = self.about["kv_cache_tokens"]
        return known

    def deployment(self, **settings: object) -> Deployment:
        """The deployment that was run; ``settings`` add to those recorded or replace them."""
        about = self.about
        return Deployment.of(
            about["model"],
            about["device"],
            tp=about["tp"],
            dp=about["dp"],
            ep=about["ep"],
            engine=about["engine"],
            **{**about["settings"], **settings},
        )


def run_names() -> list[str]:
    """Names of the shipped runs, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.npz"))


def load_run(name: str) -> RecordedRun:
    """A shipped run by name. Raises InputError for an unknown one."""
    path = _FOLDER / f"{name}.npz"
    if name not in run_names():
        raise InputError(f"recorded run {name!r} is unknown: use one of {', '.join(run_names())}")
    with np.load(path, allow_pickle=False) as stored:
        raw: dict[str, Any] = {key: stored[key] for key in stored.files}
    about = json.loads(raw["about"].tobytes())
    times = {key.removesuffix("_us"): raw[key] * 1e-6 for key in raw if key.endswith("_us")}
    work = Workload(
        arrival=times["arrival"],
        prompt_tokens=raw["prompt_tokens"],
        output_tokens=raw["output_tokens"],
        max_tokens=raw["output_tokens"],  # the load generator fixed every length
        block_ids=np.cumsum(raw["block_steps"].astype(np.int64)),
        block_offsets=np.concatenate(([0], np.cumsum(raw["num_blocks"].astype(np.int64)))),
        block_tokens=16,
        origin=about["origin"],
    )
    rival_queued = times["rival_end"] - times["rival_e2e"]
    return RecordedRun(
        name=name,
        about=about,
        work=work,
        stamps=times,
        rival=latencies(
            rival_queued, rival_queued + times["rival_ttft"], times["rival_end"], raw["output_tokens"]
        ),
    )
