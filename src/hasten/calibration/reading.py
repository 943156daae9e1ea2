"""Files of measurements, whatever tool wrote them: recognised by their content, read into samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hasten.calibration import timings
from hasten.calibration.sample import Sample
from hasten.deployment import Deployment
from hasten.errors import InputError

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
    for path in paths:
        text = read_text(path)
        if not text.strip():
            raise InputError(f"{path}: empty: give measurements")
        digest = hashlib.sha256(text.encode()).hexdigest()
        if timings.is_timings(text):
            found.samples += timings.read_timings(text, path.name)
            found.inputs.append((path.name, "step timings", digest))
        else:
            raise InputError(f"{path}: no kind of measurement that is known: give step timings")
    return found


def read_text(path: Path) -> str:
    """The text of a file. Raises InputError when it can't be read."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: more than {LARGEST >> 20} MiB: give a shorter run")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path}: {reason}") from None
