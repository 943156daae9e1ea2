"""Reading the shipped samples: compressed numpy columns that decode to the upstream rows exactly."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.workload.catalogue import reader_named
from hasten.workload.workload import Workload

_FOLDER = Path(__file__).parent


def sample_names() -> list[str]:
    """Names of the shipped samples, usable wherever a trace path is."""
    return sorted(file.stem for file in _FOLDER.glob("*.npz"))


def load_sample(name: str, *, limit: int | None = None, options: Mapping[str, Any] | None = None) -> Workload:
    """A shipped sample as a workload; options are those of its format's `adjust` (`spread`, `seed`)."""
    raw = read_columns(name)
    about = raw["about"]
    ticks = np.cumsum(raw["ticks"].astype(np.int64))
    columns: dict[str, Any] = {
        "arrival": (ticks - ticks[0]) / float(about["ticks_per_second"]),
        "prompt_tokens": raw["prompt"].astype(np.int32),
        "output_tokens": raw["output"].astype(np.int32),
    }
    if about["block_tokens"]:
        columns["block_tokens"] = about["block_tokens"]
        columns["block_ids"], columns["block_offsets"] = _blocks(raw)
    workload = Workload(**columns, origin=about["origin"])
    reader = reader_named(about["format"]) if options or about["block_tokens"] else None
    if reader is None or reader.adjust is None:
        if options:
            raise InputError(f"sample {name} has no option {next(iter(options))!r}: it takes none")
        return workload if limit is None else workload.head(limit)
    reading, adjusting = reader.chosen(options or {})
    if reading:
        raise InputError(f"sample {name} has no option {next(iter(reading))!r}: it is stored decoded")
    workload = workload if limit is None else workload.head(limit)
    return reader.adjust(workload, **adjusting)


def read_columns(name: str) -> dict[str, Any]:
    """The stored arrays of one sample, and `about` as a mapping (format, start, licence, upstream file, sha256)."""
    with np.load(_FOLDER / f"{name}.npz", allow_pickle=False) as stored:
        columns: dict[str, Any] = {key: stored[key] for key in stored.files}
    columns["about"] = json.loads(columns["about"].tobytes())
    return columns


def _blocks(raw: Mapping[str, Any]) -> tuple[Any, Any]:
    """Block ids from their differences (new blocks count up, so most differences are 1) and offsets."""
    offsets = np.concatenate(([0], np.cumsum(raw["num_blocks"].astype(np.int64))))
    return np.cumsum(raw["block_steps"].astype(np.int64)), offsets
