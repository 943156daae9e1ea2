"""Fit the pool of measured devices (src/hasten/fewshot/pool.json) to the shipped operator tables.

    scripts/make_pool.py    write

Products and attention of several models (bf16) at many step sizes are compared with the data sheet at the same
efficiencies for all devices; each device becomes one vector of weights (ridge regression).
"""

from __future__ import annotations

import json
import sys

import numpy as np

from hasten.accuracy.unseen import MODELS, measured_kernels
from hasten.fewshot.parts import SHAPED
from hasten.fewshot.pool import PATH, Pool, fitted_weights, spread_out
from hasten.latency.tables import OperatorTables, operator_paths

CENTRES = 20
RIDGE = 0.05


def main() -> int:
    """Write the pool; print how well it describes each device."""
    every = [OperatorTables(path) for path in operator_paths()]
    devices = [tables.about["device"] for tables in every if tables.has_attention]
    kernels = {
        device: [each for model in MODELS for each in measured_kernels(device, *model)] for device in devices
    }
    centres = []
    for kind in SHAPED:
        features = np.concatenate(
            [parts.features for found in kernels.values() for parts, _ in found if parts.kind == kind]
        )
        centres.append(spread_out(np.round(features, 4), CENTRES))
    pool = Pool(tuple(centres), {})
    weights = {device: fitted_weights(pool, found, ridge=RIDGE) for device, found in kernels.items()}
    for device, found in kernels.items():
        missed = np.concatenate(
            [
                np.log(seconds / parts.seconds) - pool.log_factor(parts, weights[device])
                for parts, seconds in found
            ]
        )
        raw = np.concatenate([np.log(seconds / parts.seconds) for parts, seconds in found])
        print(
            f"{device}: {np.abs(raw).mean():.1%} before, {np.abs(missed).mean():.1%} after, {len(missed)} kernels"
        )
    PATH.write_text(json.dumps(Pool(pool.centres, weights).to_json()) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
