"""`hasten accuracy`: recorded runs of real engines, replayed; predicted against measured."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hasten.accuracy.recorded import RecordedRun
    from hasten.accuracy.replay import Replay

HELP = "how far predictions are from recorded runs of real engines, and which part is to blame"
EXAMPLE = "hasten accuracy llama-3.1-8b-rtx-4090"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="recorded runs (default: all shipped ones)")
    parser.add_argument(
        "--since",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="score only requests that arrived this long after the first (default: 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Replay the runs and print a table for each."""
    from hasten.accuracy.recorded import load_run, run_names
    from hasten.errors import InputError

    if not 0.0 <= args.since < 1e6:
        raise InputError(f"--since is {args.since:g}: give seconds from 0 up")
    results = [_judge(load_run(name), args.since) for name in args.runs or run_names()]
    print(json.dumps(results, indent=2) if args.json else "\n\n".join(_table(each) for each in results))
    return 0


def _judge(recorded: RecordedRun, since: float) -> dict[str, Any]:
    """Figures of one run: measured and predicted (s), errors by part, and the rival's."""
    from hasten.accuracy.replay import FIGURES, figure, replay, split
    from hasten.errors import InputError

    if not (recorded.work.arrival >= since).any():
        raise InputError(
            f"no request of {recorded.name} arrived after {since:g} s: "
            f"its last one came at {recorded.work.arrival[-1]:.1f} s"
        )
    ours = replay(recorded, since=since)
    parts, factor = split(ours, since=since)
    rival = ours.errors(recorded.rival)
    figures: dict[str, Any] = {}
    for name, kind, q in FIGURES:
        figures[name] = {
            "measured_s": figure(recorded.measured, kind, q, ours.scored),
            "predicted_s": figure(ours.predicted, kind, q, ours.scored),
        }
    figures["throughput"] = {
        "measured_tokens_per_s": recorded.measured.throughput,
        "predicted_tokens_per_s": ours.predicted.throughput,
    }
    for name, part in parts.items():
        figures[name] |= {
            "error": part.total,
            "error_capacity": part.capacity,
            "error_step_time": part.step_time,
            "error_scheduling": part.scheduling,
            "error_rival": rival[name],
        }
    return _facts(recorded, ours, factor) | {"figures": figures}


def _facts(recorded: RecordedRun, ours: Replay, factor: float) -> dict[str, Any]:
    blocks = recorded.kv_cache_tokens
    return {
        "run": recorded.name,
        "source": recorded.about["origin"],
        "requests": int(ours.scored.sum()),
        "origin": ours.origin,
        "stated_error": ours.error,
        "kv_cache_tokens_measured": blocks,
        "kv_cache_tokens_predicted": recorded.deployment().kv.tokens,
        "step_time_factor": factor,
        "rival": recorded.about["rival"],
        "per_request_median_error": {kind: ours.per_request(kind) for kind in ("ttft", "tpot", "e2e")},
        "per_request_median_error_rival": {
            kind: ours.per_request(kind, recorded.rival) for kind in ("ttft", "tpot", "e2e")
        },
    }


def _table(result: dict[str, Any]) -> str:
    rival = result["rival"]
    lines = [
        f"{result['run']}  ({result['requests']} requests; {result['source']})",
        f"{'':12}{'measured':>12}{'predicted':>12}{'error':>9}"
        f"{'capacity':>10}{'step time':>11}{'scheduling':>12}{'':3}{rival}",
    ]
    for name, row in result["figures"].items():
        is_rate = name == "throughput"
        unit = "tokens_per_s" if is_rate else "s"
        scale, label = (1.0, "tok/s") if is_rate else (1e3, "ms")
        lines.append(
            f"{name:12}{row[f'measured_{unit}'] * scale:>12,.1f}{row[f'predicted_{unit}'] * scale:>12,.1f}"
            f"{row['error']:>+9.1%}{row['error_capacity']:>+10.1%}{row['error_step_time']:>+11.1%}"
            f"{row['error_scheduling']:>+12.1%}{'':3}{row['error_rival']:+.1%}  {label}"
        )
    ours, theirs = result["per_request_median_error"], result["per_request_median_error_rival"]
    each = ", ".join(f"{kind} {ours[kind]:.1%} ({rival}: {theirs[kind]:.1%})" for kind in ours)
    lines.append(f"error of one request, median: {each}")
    known = result["kv_cache_tokens_measured"]
    lines.append(
        f"KV cache: {result['kv_cache_tokens_predicted']:,} tokens computed, "
        + (f"{known:,} recorded" if known else "none recorded")
        + f"; steps x {result['step_time_factor']:.3f} would meet the measured mean TPOT"
    )
    lines.append(f"Origin: {result['origin']}. Error stated: {result['stated_error']}")
    return "\n".join(lines)
