"""Files of measurements, whatever tool wrote them: recognised by their content, read into samples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hasten.calibration import timings
from hasten.calibration.metrics import is_scrape, scrapes_samples
from hasten.calibration.results import read_results
from hasten.calibration.sample import Sample
from hasten.calibration.traffic import request_samples, samples_of, turn_samples
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.report.files import load_requests
from hasten.report.records import Records

LARGEST = 1 << 30
"""Bytes of a file that are read."""


@dataclass
class Read:
    """Samples of all files, what the files were as (name, kind, SHA-256), and remarks for the user."""

    samples: list[Sample] = field(default_factory=list)
    inputs: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_files(paths: Sequence[Path], deployment: Deployment) -> Read:
    """Read every file. Raises InputError for one that can't be read or is of no known kind."""
    found = Read()
    pages: list[tuple[str, str]] = []
    for path in paths:
        text = read_text(path)
        if not text.strip():
            raise InputError(f"{path}: empty: give measurements")
        if is_scrape(text):
            pages.append((path.name, text))
            found.inputs.append((path.name, "/metrics", hashlib.sha256(text.encode()).hexdigest()))
            continue
        kind, samples, notes = _read(text, path, deployment)
        found.samples += samples
        found.notes += notes
        found.inputs.append((path.name, kind, hashlib.sha256(text.encode()).hexdigest()))
    if pages:
        samples, notes = scrapes_samples(pages, deployment)
        found.samples += samples
        found.notes += notes
    return found


def _read(text: str, path: Path, deployment: Deployment) -> tuple[str, list[Sample], list[str]]:
    """(kind of file, samples, remarks)."""
    if timings.is_timings(text):
        return "step timings", timings.read_timings(text, path.name), []
    if text.startswith("request_id,") or "arrival_s" in text.partition("\n")[0]:
        records = load_requests(path)
        return "requests", list(request_samples(records, deployment, path.name)), []
    if '"hasten-recording-' in text[:200]:
        from hasten.engine.recording import Recording

        return "recording", turn_samples(Recording.load(path).turns, path.name), []
    if text.lstrip()[:1] not in ("{", "["):
        raise InputError(
            f"{path}: no kind of measurement that is known: give step timings, requests (.csv), a scrape of "
            "/metrics, or a result of vllm bench serve, sglang bench_serving, guidellm or AIPerf"
        )
    samples, notes, tools = [], [], set()
    for result in read_results(text, path.name):
        found, remarks = samples_of(result, deployment)
        samples += found
        notes += remarks
        tools.add(result.tool)
        if result.tool == "guidellm":
            notes.append(
                f"{result.where}: guidellm's inter-token latency is taken: its TPOT includes the first token"
            )
    if not samples:
        raise InputError(
            f"{path}: nothing in it tells a step time: " + (notes[0] if notes else "no finished request")
        )
    return " and ".join(sorted(tools)), samples, notes


def read_requests(path: Path) -> tuple[Records, int | None, str]:
    """(requests, users of a closed loop, tool) of a measured run. Raises InputError when it holds only means."""
    text = read_text(path)
    if "arrival_s" in text.partition("\n")[0]:
        return load_requests(path), None, "hasten bench"
    one, *more = read_results(text, path.name)
    if more or one.requests is None:
        raise InputError(
            f"{path}: no single requests in it: record one run with --save-result --save-detailed (vllm bench serve), "
            "or with `hasten bench --out requests.csv`"
        )
    return one.requests, None if math.isnan(one.users) else int(one.users), one.tool


def read_text(path: Path) -> str:
    """The text of a file. Raises InputError when it can't be read."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: more than {LARGEST >> 20} MiB: give a shorter run")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path}: {reason}") from None
