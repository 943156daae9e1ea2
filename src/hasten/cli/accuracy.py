"""`hasten accuracy`: recorded runs of real engines, replayed; predicted against measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hasten.accuracy.closed_loop import Point
    from hasten.accuracy.judging import Judged
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
    group = parser.add_argument_group("published closed-loop points instead of recorded runs")
    group.add_argument("--points", action="store_true", help="TTFT and TPOT by model, device and engine")
    for name in ("model", "device", "engine"):
        group.add_argument(f"--{name}", metavar="NAME", help=f"only points of this {name}")
    group.add_argument(
        "--ten", action="store_true", help="calibrate with ten points of each deployment, score the others"
    )


def run(args: argparse.Namespace) -> int:
    """Replay the runs and print a table for each."""
    from hasten.accuracy.recorded import load_run, run_names
    from hasten.errors import InputError

    if args.points:
        return _points(args)
    for name in ("model", "device", "engine", "ten"):
        if getattr(args, name):
            raise InputError(f"--{name} chooses among closed-loop points: give --points too")
    if not 0.0 <= args.since < 1e6:
        raise InputError(f"--since is {args.since:g}: give seconds from 0 up")
    results = [_judge(load_run(name), args.since) for name in args.runs or run_names()]
    print(json.dumps(results, indent=2) if args.json else "\n\n".join(_table(each) for each in results))
    return 0


def _points(args: argparse.Namespace) -> int:
    """Simulate closed-loop points and print a row for each deployment."""
    from hasten.accuracy.closed_loop import by_group, load_points
    from hasten.cli.output.progress import Bar
    from hasten.errors import InputError

    if args.runs:
        raise InputError(f"--points judges closed-loop points: leave {args.runs[0]!r} out")
    wanted = {name: getattr(args, name) for name in ("model", "device", "engine") if getattr(args, name)}
    for name, value in wanted.items():
        known = sorted({getattr(each, name) for each in load_points()})
        if value not in known:
            raise InputError(f"--{name} {value!r} has no closed-loop points: use one of {', '.join(known)}")
    chosen = [
        each for each in load_points() if all(getattr(each, name) == value for name, value in wanted.items())
    ]
    rows = []
    done = 0
    with Bar("simulating closed-loop points") as bar:

        def progress() -> None:
            nonlocal done
            done += 1
            bar(done, len(chosen))

        for group, points in by_group(chosen).items():
            rows += _ten_rows(group, points) if args.ten else _group_rows(group, points, progress)
    print(json.dumps(rows, indent=2) if args.json else _points_table(rows))
    return 0


def _group_rows(
    group: tuple[str, str, str, str], points: list[Point], progress: Callable[[], None]
) -> list[dict[str, Any]]:
    """One row for each tensor-parallel size, with prefill and decode together and apart."""
    from hasten.accuracy.judging import judge

    kinds = sorted({(each.mode, each.tp, each.ep) for each in points})
    return [
        _row(
            group,
            f"tp{tp}{f' ep{ep}' if ep > 1 else ''}",
            mode,
            judge(_of(points, mode, tp, ep), progress=progress),
        )
        for mode, tp, ep in kinds
    ]


def _of(points: list[Point], mode: str, tp: int, ep: int) -> list[Point]:
    return [each for each in points if (each.mode, each.tp, each.ep) == (mode, tp, ep)]


def _ten_rows(group: tuple[str, str, str, str], points: list[Point]) -> list[dict[str, Any]]:
    """One row of the points that a calibration with ten others did not see; none where there are too few."""
    from hasten.accuracy.judging import Judged, why_not
    from hasten.accuracy.ten_points import SAMPLES, held_out

    usable = [each for each in points if not each.is_split and why_not(each) is None]
    if len(usable) < 2 * SAMPLES:
        return []
    return [_row(group, f"ten of {len(usable)}", "agg", Judged(tuple(held_out(usable, draw=0))))]


def _row(group: tuple[str, str, str, str], split: str, mode: str, found: Judged) -> dict[str, Any]:
    model, device, engine, precision = group
    return {
        "model": model,
        "device": device,
        "engine": engine,
        "precision": precision or "bf16",
        "split": split,
        "mode": mode,
        "points": len(found.simulated),
        "ttft_mape": found.mape("ttft"),
        "ttft_median_error": found.bias("ttft"),
        "tpot_mape": found.mape("tpot"),
        "tpot_median_error": found.bias("tpot"),
        "left_out": found.left_out,
    }


def _points_table(rows: list[dict[str, Any]]) -> str:
    head = f"{'model':16}{'device':11}{'engine':8}{'type':6}{'split':12}{'mode':8}{'points':>7}"
    lines = [f"{head}{'TPOT':>8}{'bias':>7}{'TTFT':>8}{'bias':>7}"]
    for row in rows:
        figures = "".join(
            f"{row[f'{kind}_mape']:>8.1%}{row[f'{kind}_median_error']:>+7.0%}" for kind in ("tpot", "ttft")
        )
        left = ", ".join(f"{count} {reason}" for reason, count in row["left_out"].items())
        lines.append(
            f"{row['model']:16}{row['device']:11}{row['engine']:8}{row['precision']:6}{row['split']:12}"
            f"{row['mode']:8}{row['points']:>7}{figures if row['points'] else '':30}"
            f"{f'  left out: {left}' if left else ''}"
        )
    lines.append("TPOT, TTFT: mean |predicted / measured - 1|; bias: median of predicted / measured - 1")
    return "\n".join(lines)


def _judge(recorded: RecordedRun, since: float) -> dict[str, Any]:
    """Figures of one run: measured and predicted (s), errors by cause and by part, and the rival's."""
    from dataclasses import asdict

    from hasten.accuracy.parts import parts_of
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
    parts_found = [asdict(each) for each in parts_of(ours, since)]
    return _facts(recorded, ours, factor) | {"figures": figures, "parts": parts_found}


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
    named = (
        f"{part['name']} {part['median']:+.1%} ({part['size']:.1%} without sign, {part['count']})"
        for part in result["parts"]
        if part["count"]
    )
    lines.append(f"by part, medians: {'; '.join(named)}")
    known = result["kv_cache_tokens_measured"]
    lines.append(
        f"KV cache: {result['kv_cache_tokens_predicted']:,} tokens computed, "
        + (f"{known:,} recorded" if known else "none recorded")
        + f"; steps x {result['step_time_factor']:.3f} would meet the measured mean TPOT"
    )
    lines.append(f"Origin: {result['origin']}. Error stated: {result['stated_error']}")
    return "\n".join(lines)
