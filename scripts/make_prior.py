"""Write src/hasten/calibration/prior.json: coefficients of known devices, fitted to their operator tables.

scripts/make_prior.py
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from hasten.calibration.fit import fit
from hasten.calibration.model import WIDTH, Predictor, coefficients_of
from hasten.calibration.prior import Prior
from hasten.calibration.sample import Sample, Step
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import FACTORS, NAMES
from hasten.latency.tables import OperatorTables, operator_paths
from hasten.latency.tables.offsets import Offsets

PATH = Path(__file__).resolve().parent.parent / "src" / "hasten" / "calibration" / "prior.json"

MODELS = (("llama-3.2-3b", 1), ("llama-3.1-8b", 1), ("qwen3-32b", 2), ("llama-3.1-70b", 4))
STEPS = [Step((), n, n * context) for n in (1, 4, 16, 64, 128) for context in (512, 2048, 8192)]
STEPS += [Step(((tokens, 0),)) for tokens in (128, 512, 2048)]

#: Standard deviations of the logs of factors beyond the spread of the pool. Analytical: what published deployments
#: show (docs/design/step-time.md, four of five within 25 %) and tables don't. Measured: layers timed alone.
EXTRA = {
    "analytical": {"memory": 0.10, "kv": 0.15, "compute": 0.12, "kernel": 0.4, "communication": 0.4},
    "measured": {"memory": 0.05, "kv": 0.10, "compute": 0.05, "kernel": 0.3, "communication": 0.4},
}
#: (mean, standard deviation) of what no table holds. Steps: fitted offsets of two devices (+0.15 and +6.66 ms on RTX
#: PRO 6000, -0.8 to 0 and 0 to 2 ms on RTX 4090), widened; the rest: orders of magnitude.
SECONDS = {
    "step_seconds": [2e-4, 1e-3],
    "mixed_seconds": [1e-3, 3e-3],
    "sequence_seconds": [0.0, 1e-5],
    "front_end_seconds": [2e-3, 5e-3],
    "front_end_token_seconds": [1e-6, 3e-6],
}


def device_factors(device: str) -> dict[str, float]:
    """Factors that bring analytical step times closest to those of the device's tables."""
    broad = np.full(WIDTH, 1e-7)
    broad[[NAMES.index(name) for name in FACTORS]] = 1.0
    prior = Prior(np.zeros(WIDTH), np.diag(broad**2))
    found = []
    for model, tp in MODELS:
        try:
            tables = Deployment.of(model, device, tp=tp, step_times="table", max_model_len=16384).latency
        except InputError:
            continue
        plain = replace(tables, measured_offsets=Offsets(0.0, 0.0, "none", 0.1))
        samples = [
            Sample(
                "", plain.step_time(step.prefills, step.decodes, step.decode_context).seconds, ((step, 1.0),)
            )
            for step in STEPS
        ]
        analytical = Deployment.of(model, device, tp=tp, step_times="analytical", max_model_len=16384)
        found.append(fit(samples, Predictor(analytical), prior).theta)
    middle = coefficients_of(np.mean(found, axis=0))
    return {name: round(getattr(middle, name), 4) for name in FACTORS}


def main() -> None:
    """Fit every device and write the file."""
    every = [OperatorTables(path) for path in operator_paths()]
    names = [tables.about["device"] for tables in every if tables.has_attention]
    devices = {name: device_factors(name) for name in names}
    result = {
        "about": "Factors on data sheet step times that meet steps put together from operator tables, by device "
        "(NVIDIA AIConfigurator 0.12.0, Apache-2.0; scripts/make_prior.py), and what is believed of the rest.",
        "models": [f"{model} tp{tp}" for model, tp in MODELS],
        "devices": devices,
        "extra_spread": EXTRA,
        "seconds": SECONDS,
    }
    PATH.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, row in devices.items():
        print(name, row)


if __name__ == "__main__":
    main()
