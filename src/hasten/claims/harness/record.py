"""Results as data: what `hasten reproduce` prints as JSON, and what is committed for the catalogue to read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hasten.claims.harness.catalogue import FOLDER
from hasten.claims.harness.claim import Claim, Curve, Figure, Findings
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.verdict import judge, judge_figure
from hasten.errors import InputError
from hasten.report.files import write_text

RESULTS = FOLDER / "results"
_DIGITS = 6  # significant ones: enough to compare, short enough to read


def static_part(name: str, claim: Claim) -> dict[str, Any]:
    """What a claim says without being measured."""
    return {
        "claim": name,
        "paper": claim.paper.cite,
        "year": claim.paper.year,
        "evidence": claim.paper.evidence,
        "headline": claim.paper.headline,
        "methods": list(claim.methods),
        "setting": claim.setting,
        "baseline": claim.baseline,
        "seeds": claim.num_seeds,
        "first_seed": claim.first_seed,
    }


def result_of(name: str, claim: Claim, findings: Findings) -> dict[str, Any]:
    """The static part and everything found. Values carry the unit that stands beside them; undefined ones are None."""
    result = static_part(name, claim) | {
        "verdict": judge(findings),
        "origin": findings.origin,
        "figures": [_figure(each) for each in findings.figures],
        "falsifiers": [
            {
                "setting": each.setting,
                **_estimate(each.ours),
                "unit": each.unit,
                "at_least": each.low,
                "at_most": each.high,
                "holds": each.holds,
            }
            for each in findings.falsifiers
        ],
        "regions": [
            {"where": each.where, **_estimate(each.ours), "unit": "x", "is_loss": each.is_loss}
            for each in findings.regions
        ],
        "curves": [asdict(each) for each in findings.curves],
        "notes": list(findings.notes),
    }
    rounded: dict[str, Any] = _rounded(result)
    return rounded


def curves_of(result: dict[str, Any]) -> list[Curve]:
    """The plots of a result."""
    return [Curve(**each) for each in result["curves"]]


def recorded(name: str) -> dict[str, Any] | None:
    """The recorded result of a claim; None when nobody recorded one."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def save(result: dict[str, Any], folder: Path) -> Path:
    """Write a result to `folder`, in full or not at all, and return where. Raises InputError when it can't."""
    path = folder / f"{result['claim']}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: can't be written: {error.strerror}: choose another folder") from error
    write_text(path, json.dumps(result, indent=1, allow_nan=False) + "\n")
    return path


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "paper": figure.paper,
        **_estimate(figure.ours),
        "unit": figure.unit,
        "tolerance": figure.tolerance,
        "neutral": figure.neutral,
        "verdict": judge_figure(figure),
    }


def _estimate(ours: Estimate) -> dict[str, float]:
    return {"ours": ours.value, "ours_low": ours.low, "ours_high": ours.high}


def _rounded(value: Any) -> Any:
    """Numbers to a few significant digits, what is not finite as None."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
