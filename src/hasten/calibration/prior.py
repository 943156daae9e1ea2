"""What coefficients are like before anything was measured: their mean and spread over known devices.

`prior.json` holds, for every device with shipped operator tables, the coefficients that bring data sheet step times
closest to steps put together from its tables (`scripts/make_prior.py`), and what is believed of times that no
table holds. The mean over devices and their covariance are the prior of a new one (empirical Bayes).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hasten.calibration.model import WIDTH, Floats, inverse
from hasten.latency.calibration import FACTORS, NAMES

KNOWN = 0.5
"""Log ratio of measured to predicted that known devices stay within."""

_PATH = Path(__file__).parent / "prior.json"


@dataclass(frozen=True, eq=False)
class Prior:
    """A normal distribution of the coefficients: logs of factors, and seconds."""

    mean: Floats
    covariance: Floats

    @property
    def precision(self) -> Floats:
        """Inverse of the covariance."""
        return inverse(self.covariance)


@lru_cache(maxsize=1)
def _stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_PATH.read_text(encoding="utf-8"))
    return found


def pool_names() -> list[str]:
    """Devices that the prior rests on."""
    return sorted(_stored()["devices"])


def prior_for(
    base: str, scale: float, *, missed: float = 0.0, row_seconds: float = 0.0, without: str | None = None
) -> Prior:
    """The prior of step times of one kind (analytical, layers, operators).

    ``scale`` is a time in seconds of which a step's offset may be a tenth, where that is more than the offsets seen:
    the shortest sample, or five times what samples miss their predictions by (engines that nobody has calibrated).
    ``missed`` is by how much samples miss their predictions, as a log: beyond KNOWN, the device or engine is unlike
    those of the pool: its spread says little about it, and a thousandth of ``scale`` may go into every sequence (a
    host that works on each answer). ``row_seconds`` may go into every sequence whatever was missed. ``without``
    leaves a device out of the pool.
    """
    stored = _stored()
    mean, covariance = np.zeros(WIDTH), np.zeros((WIDTH, WIDTH))
    places = [NAMES.index(name) for name in FACTORS]
    if base == "analytical":
        rows = [row for name, row in stored["devices"].items() if name != without]
        logs = np.log(np.array([[row[name] for name in FACTORS] for row in rows]))
        spread = np.cov(logs, rowvar=False, ddof=1)
        # Seven devices can't hold a full covariance of five figures: half of what lies off the diagonal is believed.
        spread = 0.5 * spread + 0.5 * np.diag(np.diag(spread))
        spread += np.diag([stored["extra_spread"]["analytical"][name] ** 2 for name in FACTORS])
        mean[places] = logs.mean(axis=0)
    else:
        spread = np.diag([stored["extra_spread"]["measured"][name] ** 2 for name in FACTORS])
    if missed > KNOWN:
        spread = spread + np.diag(np.full(len(places), (0.5 * missed) ** 2))
    covariance[np.ix_(places, places)] = spread
    for name, (centre, sd) in stored["seconds"].items():
        i = NAMES.index(name)
        if name in ("step_seconds", "mixed_seconds"):
            sd = max(sd, 0.1 * scale)
        if name == "sequence_seconds":
            sd = max(sd, row_seconds, 0.001 * scale if missed > KNOWN else 0.0)
        mean[i] = centre if base == "analytical" or name.startswith("front") else 0.0
        covariance[i, i] = sd * sd
    return Prior(mean, covariance)
