"""Replay a workload against a running OpenAI-compatible server, streaming; print what `vllm bench serve` would.

Open loop: latencies count from when a request was due, also when the client sends it late. A closed-loop workload
keeps its users instead. Prompts are random token ids of the right lengths; equal blocks of a trace stay equal.
"""

from __future__ import annotations

import importlib.util
from argparse import ArgumentParser, Namespace
from pathlib import Path

from hasten.cli.options import values, workload
from hasten.cli.output import text
from hasten.cli.output.progress import Bar
from hasten.errors import InputError

HELP = "measure a running OpenAI-compatible server under a workload"
EXAMPLE = "hasten bench http://127.0.0.1:8000 --workload azure-conv --rate 2 --limit 100"
EXAMPLE_NOT_RUN = "needs a running server"


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("url", metavar="URL", help="where the server listens, without /v1")
    parser.add_argument(
        "--model", metavar="NAME", help="the served model (default: the first that it offers)"
    )
    parser.add_argument("--api-key", metavar="KEY", help="sent as `Authorization: Bearer KEY`")
    parser.add_argument(
        "--vocab",
        type=values.count,
        default=1000,
        metavar="N",
        help="prompts use token ids below N (default 1000)",
    )
    parser.add_argument(
        "--timeout",
        type=values.duration,
        default=600.0,
        metavar="TIME",
        help="a request that takes longer has failed (default 10min)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write one row per request: .csv or .parquet"
    )
    workload.add_workload(parser)


def run(args: Namespace) -> int:
    """Send the load and print the report; exit status 1 when no request was served."""
    if importlib.util.find_spec("aiohttp") is None:
        raise InputError("hasten bench needs aiohttp: pip install 'hasten[engine]'")
    url = args.url.rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{args.url}: is no address: give one such as http://127.0.0.1:8000")
    import asyncio

    from hasten.engine.load import Load, Target, served_model
    from hasten.report.files import save_requests
    from hasten.report.report import Report
    from hasten.report.table import render

    work = workload.workload_of(args)
    model = args.model or asyncio.run(served_model(url, args.api_key))
    target = Target(url, model, args.api_key, vocab=args.vocab, timeout=args.timeout, seed=args.seed)
    with Bar(f"measuring {url}") as bar:
        load = Load(target, work, bar)
        records = asyncio.run(load.run())
    if args.out is not None:
        save_requests(records, args.out)
    report = Report(
        records=records,
        origin="measured",
        error="as measured at the client",
        label=f"{model} at {url}",
        request_rate=work.rate if work.closed_loop is None else None,
        max_concurrency=None if work.closed_loop is None else work.closed_loop.concurrency,
        notes=tuple(f"failed, {count:,} of {len(work):,}: {error}" for error, count in load.errors.items()),
    )
    if args.json:
        text.show_json(
            {"model": model, "url": url, "workload": work.describe().as_dict(), **report.to_dict()}
        )
    else:
        text.show("\n".join([workload.line_of(work, args.workload), render(report)]))
    return int(not records.is_ok.any())
