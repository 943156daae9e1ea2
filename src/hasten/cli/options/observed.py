"""Flags of `hasten explain` for what was observed rather than simulated, and the answers to them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from hasten.cli.output import table, text
from hasten.errors import InputError

SOURCES = ("recording", "server_metrics", "metrics")
SHOWN = 10


def add_observed(parser: ArgumentParser) -> None:
    """The flags."""
    group = parser.add_argument_group("what was observed, instead of MODEL")
    group.add_argument(
        "--recording", type=Path, metavar="FILE", help="a run of our engine, from `hasten serve --record`"
    )
    group.add_argument(
        "--server-metrics",
        type=Path,
        metavar="FILE",
        help="the /metrics page of vLLM or `hasten serve`, saved",
    )
    group.add_argument(
        "--since-metrics", type=Path, metavar="FILE", help="an earlier page, whose requests are left out"
    )
    group.add_argument(
        "--metrics",
        type=Path,
        metavar="FILE",
        help="time series of components: a .csv with a column time_s, then one per component; successive /metrics "
        "pages in one file or a folder; or the JSON of Prometheus' query_range",
    )
    group.add_argument(
        "--alarm",
        metavar="NAME",
        help="the series of --metrics that is slow (default: the last column; of server metrics, time to first token)",
    )
    group.add_argument(
        "--since",
        type=float,
        metavar="S",
        help="when it began (s; default: the alarm's largest change point)",
    )


def is_observed(args: Namespace) -> bool:
    """Whether one of the sources is given. Raises InputError for two, or one beside MODEL."""
    given = [f"--{name.replace('_', '-')}" for name in SOURCES if getattr(args, name) is not None]
    if len(given) + (args.model is not None) > 1:
        raise InputError(f"{' and '.join([*given, *(['MODEL'] if args.model else [])])}: give one of them")
    return bool(given)


def run(args: Namespace) -> int:
    """Answer for what was observed."""
    if args.recording is not None:
        found, lines = _recording(args)
    elif args.server_metrics is not None:
        found, lines = _server(args)
    else:
        found, lines = _culprits(args)
    if args.json:
        text.show_json(found)
    else:
        text.show("\n".join(lines))
    return 0


def _recording(args: Namespace) -> tuple[dict[str, Any], list[str]]:
    from hasten.engine.policies import Policies
    from hasten.engine.recording import Recording
    from hasten.engine.replay import ReplayDiffers
    from hasten.explain.composition import compose
    from hasten.explain.labels import LABELS
    from hasten.explain.recorded import explain_recording

    recording = Recording.load(args.recording)
    policies = Policies.named(recording.settings.get("policies", {}), recording.settings.get("seed", 0))
    try:
        found, _ = explain_recording(recording, policies)
    except ReplayDiffers as error:
        raise InputError(f"{args.recording}: the core decides otherwise than it did ({error})") from None
    percentile = 99.0 if args.percentile is None else args.percentile
    composition = compose(found, args.metric or "ttft", percentile)
    usual, tail = composition.usual, composition.tail
    rows = [
        [LABELS[name], *(table.number(group.labels.get(name, 0.0) * 1e3, 2) for group in (usual, tail))]
        for name in composition.excess
    ]
    rows.append(["total", table.number(usual.seconds * 1e3, 2), table.number(tail.seconds * 1e3, 2)])
    title = f"where {composition.metric.upper()} goes, ms"
    lines = [
        f"{args.recording}: {len(found.records):,} requests served in full, {recording.steps:,} steps; measured",
        "",
        table.table([title, "usual", f"slowest {tail.requests:,}"], rows, right=(1, 2)),
        "",
        *(f"Can't be known: {note}" for note in found.notes),
    ]
    figures = {
        "origin": "measured",
        "requests": len(found.records),
        "metric": composition.metric,
        "usual_ms": {name: seconds * 1e3 for name, seconds in usual.labels.items()},
        "tail_ms": {name: seconds * 1e3 for name, seconds in tail.labels.items()},
        "unknown": list(found.notes),
    }
    return figures, lines


def _server(args: Namespace) -> tuple[dict[str, Any], list[str]]:
    from hasten.explain.foreign import UNKNOWN, server_means

    earlier = "" if args.since_metrics is None else _read(args.since_metrics)
    found = server_means(_read(args.server_metrics), before=earlier, where=str(args.server_metrics))
    rows = [
        [name, table.number(seconds * 1e3, 2), f"{seconds / found.e2e:.0%}"]
        for name, seconds in [*found.phases.items(), ("front end, streaming", found.rest), ("E2E", found.e2e)]
    ]
    lines = [
        f"{args.server_metrics}: means of {found.requests:,} requests; measured",
        "",
        table.table(["where E2E goes", "mean, ms", "share"], rows, right=(1, 2)),
        f"TTFT {table.number(found.ttft * 1e3, 2)} ms; most time goes to {found.largest}",
        "",
        *(f"Can't be known: {note}" for note in UNKNOWN),
    ]
    figures = {
        "origin": "measured",
        "requests": found.requests,
        "mean_e2e_ms": found.e2e * 1e3,
        "mean_ttft_ms": found.ttft * 1e3,
        "mean_rest_ms": found.rest * 1e3,
        **{f"mean_{name}_ms": seconds * 1e3 for name, seconds in found.phases.items()},
        "unknown": list(UNKNOWN),
    }
    return figures, lines


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None


def _culprits(args: Namespace) -> tuple[dict[str, Any], list[str]]:
    from hasten.explain.culprits import change_points, culprits
    from hasten.explain.series import load_series

    series = load_series(args.metrics)
    alarm = series.alarm if args.alarm is None else args.alarm
    column = series.values[:, series.column(alarm)]
    cuts = [float(series.times[row]) for row in change_points(column)]
    since = args.since
    if since is None:
        if not cuts:
            raise InputError(f"{args.metrics}: {alarm} shows no change point: say when it began with --since")
        since = max(cuts, key=lambda at: _rise(series.times, column, at))
    found = culprits(series, alarm, since)
    rows = [
        [
            each.name,
            f"{each.score:.0%}",
            table.number(each.deviation, 1),
            table.number(each.correlation, 2),
            table.significant(each.onset, 6),
        ]
        for each in found[:SHOWN]
    ]
    header = ["suspect", "share of the walk", "deviation, sigma", "correlation", "onset, s"]
    lines = [
        f"{alarm} changes at {', '.join(f'{at:g}' for at in cuts) or 'no time'} s; suspects from {since:g} s on",
        "",
        table.table(header, rows, right=(1, 2, 3, 4)),
        "",
        "Origin: measured series; causes from lagged dependences are evidence, no proof: a common cause looks alike",
        *(f"Can't be known: {note}" for note in series.notes),
    ]
    figures = {
        "alarm": alarm,
        "change_points_s": cuts,
        "since_s": since,
        "suspects": [
            {
                "name": each.name,
                "score": each.score,
                "deviation_sigmas": each.deviation,
                "correlation": each.correlation,
                "onset_s": each.onset,
            }
            for each in found
        ],
        "unknown": list(series.notes),
    }
    return figures, lines


def _rise(times: Any, values: Any, at: float) -> float:
    import numpy as np

    return abs(float(np.nanmean(values[times >= at]) - np.nanmean(values[times < at])))
