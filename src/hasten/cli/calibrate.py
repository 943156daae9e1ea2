"""Correct step times by what you measured: ten timings are enough to start with.

FILES are step timings (CSV or JSON; one step per row: decodes, context, prefill_tokens, ms), results of vllm bench
serve, sglang bench_serving, guidellm or AIPerf, the requests that `hasten bench --out` writes, or scrapes of /metrics
(two are better than one). --url probes a live server instead, with few requests, each chosen to tell most; --engine DIR
probes our own engine over that checkpoint. A few physical coefficients are fitted, near those of known devices, and
written to a small file that predict, simulate, plan and compare take as --calibration. Errors are those of samples left
out of their own fit.
"""

from __future__ import annotations

import importlib.util
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli.options import deployment, values
from hasten.cli.output import table, text
from hasten.cli.output.progress import Bar
from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.calibration import Calibrated
    from hasten.calibration.reading import Read
    from hasten.deployment import Deployment

HELP = "correct step times by a few measurements of your own"
EXAMPLE = "hasten calibrate llama-3.1-8b timings.csv --device h100-sxm --out h100.json"
EXAMPLE_NOT_RUN = "needs a file of timings"

OWN_ENGINE = "hasten"

_MOST_ROWS = 20
"""Samples shown one by one."""


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    deployment.add_model(parser)
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="what was measured")
    group = parser.add_argument_group("probing")
    group.add_argument("--url", metavar="URL", help="a live OpenAI-compatible server, without /v1")
    group.add_argument(
        "--torch",
        action="store_true",
        help="no server: time products, reads and launches by torch on this machine",
    )
    group.add_argument("--api-key", metavar="KEY", help="sent as `Authorization: Bearer KEY`")
    group.add_argument(
        "--vocab",
        type=values.count,
        default=1000,
        metavar="N",
        help="prompts use token ids below N (default 1000)",
    )
    group.add_argument(
        "--probes", type=values.count, default=10, metavar="N", help="probes, at most (default 10)"
    )
    group.add_argument(
        "--probe-time",
        type=values.duration,
        default=60.0,
        metavar="TIME",
        help="for all of them (default 1min)",
    )
    group = parser.add_argument_group("result")
    group.add_argument("--out", type=Path, metavar="FILE", help="write the calibration here (.json)")
    group.add_argument("--date", metavar="DAY", help="stored in the file as given, such as 2026-11-21")
    deployment.add_split(parser)
    deployment.add_engine(parser)


def run(args: Namespace) -> int:
    """Fit, print, and write the file when asked."""
    from hasten.calibration.calibrate import calibrate

    if args.calibration is not None:
        raise InputError("--calibration is what this command makes: leave it out, or name a file with --out")
    if args.out is not None and (args.out.suffix != ".json" or not args.out.parent.is_dir()):
        raise InputError(f"--out {args.out}: give a .json file in a folder that exists")
    directory = Path(args.engine) if (Path(args.engine) / "config.json").is_file() else None
    if directory is not None:
        args.engine = OWN_ENGINE
    made = deployment.deployment_of(args)
    if args.torch:
        found = _of_machine(args, made)
    else:
        read = _measurements(args, made, directory)
        found = calibrate(
            made, read.samples, inputs=read.inputs, date=args.date, notes=read.notes, own_clock=not args.files
        )
    if args.out is not None:
        found.calibration.save(args.out)
    if args.json:
        text.show_json(found.calibration.to_dict() | {"samples_judged": _rows(found)})
    else:
        text.show(render(found, args.out))
    return 0


def _of_machine(args: Namespace, made: Deployment) -> Calibrated:
    """Micro-benchmarks instead of measurements of an engine."""
    if args.files or args.url is not None:
        raise InputError("--torch times this machine and no server: leave files and --url out")
    if importlib.util.find_spec("torch") is None:
        raise InputError("--torch needs torch: pip install 'hasten[engine]'")
    from hasten.calibration.machine import from_machine, measure_machine

    return from_machine(made, measure_machine(), date=args.date)


def _measurements(args: Namespace, made: Deployment, directory: Path | None) -> Read:
    """What the files hold, and what probes find."""
    from hasten.calibration.probing import run_probes
    from hasten.calibration.reading import read_files

    if not args.files and args.url is None and directory is None:
        raise InputError("nothing to calibrate from: give files with measurements, --url, or --engine DIR")
    read = read_files(args.files, made)
    if args.url is None and directory is None:
        return read
    if args.url is not None and directory is not None:
        raise InputError("--url and --engine DIR are two servers: give one of them")
    missing = [name for name in ("torch", "aiohttp") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"probing needs {' and '.join(missing)}: pip install 'hasten[engine]'")
    from hasten.calibration import senders

    source = args.url if directory is None else str(directory)
    if directory is None:
        target = _target(args)
        send = senders.http_sender(target, made)
    else:
        send = senders.build_prober(directory, made)
    with Bar(f"probing {source}") as bar:
        read.samples += run_probes(
            made, send, senders.clock, count=args.probes, seconds=args.probe_time, progress=bar
        )
    read.inputs.append((source, "probes", ""))
    return read


def _target(args: Namespace) -> Any:
    import asyncio
    import secrets

    from hasten.engine.load import Target, served_model

    url = args.url.rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{args.url}: is no address: give one such as http://127.0.0.1:8000")
    model = asyncio.run(served_model(url, args.api_key))
    fresh = secrets.randbits(32)  # a server probed before keeps the prompts of that time in its prefix cache
    return Target(url, model, args.api_key, vocab=args.vocab, timeout=args.probe_time, seed=fresh)


def _rows(found: Calibrated) -> list[dict[str, Any]]:
    return [
        {
            "where": each.where,
            "kind": each.kind,
            "measured_ms": each.measured * 1e3,
            "before_ms": each.before * 1e3,
            "left_out_ms": each.after * 1e3,
            "is_outlier": each.is_outlier,
        }
        for each in found.judged
    ]


def render(found: Calibrated, out: Path | None) -> str:
    """The calibration as text."""
    from hasten.latency.calibration import relative_error

    made = found.calibration
    of = made.subject
    lines = [f"{of.model} on [{of.device} {of.split}], {of.engine}, {of.base} step times", ""]
    if found.judged:
        lines += [_samples(found), ""]
        lines.append(
            f"Mean error without sign: {made.before:.1%} before, {made.after:.1%} after "
            "(each sample left out of its own fit)"
        )
    lines += ["", _coefficients(found), ""]
    decode, prefill = relative_error(made.decode), relative_error(made.prefill)
    lines.append(
        f"Origin: calibrated. Error: about {decode:.0%} of a decode step, {prefill:.0%} of a "
        "step with a prefill; wider outside the measured range and for other models"
    )
    seen = made.range
    lines.append(
        f"Range: {seen.decodes_low:,} to {seen.decodes_high:,} decodes, contexts up to {seen.context_high:,} tokens, "
        f"up to {seen.prefill_high:,} prefill tokens in a step"
    )
    lines += [f"Note: {note}" for note in made.notes]
    lines.append(f"Written to {out}" if out is not None else "Not kept: give --out FILE.json to use it")
    return "\n".join(lines)


def _samples(found: Calibrated) -> str:
    rows = [
        [
            each.where,
            each.kind,
            table.number(each.measured * 1e3, 3),
            f"{each.before / each.measured - 1.0:+.1%}",
            f"{each.after / each.measured - 1.0:+.1%}" + (" (outlier)" if each.is_outlier else ""),
        ]
        for each in found.judged[:_MOST_ROWS]
    ]
    shown = table.table(["sample", "kind", "measured ms", "error before", "left out"], rows, right=[2, 3, 4])
    more = len(found.judged) - _MOST_ROWS
    return shown + (f"\n... and {more:,} more" if more > 0 else "")


def _coefficients(found: Calibrated) -> str:
    """Coefficients that the samples depend on, with their standard deviations."""
    from hasten.latency.calibration import NAMES, shown

    made, seen = found.calibration, found.fit.seen
    rows = []
    for i, name in enumerate(NAMES):
        if seen[i]:
            key, scale, is_factor = shown(name)
            value, sd = getattr(made.coefficients, name) * scale, made.covariance[i][i] ** 0.5
            rows.append([key, f"{value:.3f}" if is_factor else f"{value:+.3f}"])
            rows[-1].append(f"x/ {1.0 + sd:.2f}" if is_factor else f"+- {sd * scale:.3f}")
    return table.table(["coefficient", "value", "standard deviation"], rows, right=[1, 2])
