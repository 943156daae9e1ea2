"""Tokens per second through the server against those of the engine alone, and what a token costs server and client.

    pip install -e .[engine]
    python benchmarks/server.py [--shape smollm-135m] [--dtype int8] [--batch 32] [--rounds 3]

Random weights; --batch prompts of 128 tokens at once, 128 tokens out. Engine alone and server run in turn, each in a
process of its own, --rounds times; the first batch of each is not counted. The client is `hasten.engine.load`, in this
process, on the same cores. `decode` is the rate between the last first token and the first end, `whole` that of the
batch from begin to end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import random_checkpoint
from truth import answers, free_port, machine

PROMPT, OUTPUT = 128, 128  # tokens
COUNTED = 3  # batches of a process that count
BUDGET = 512  # tokens per step


def rates(times: Sequence[Any], begin: float) -> dict[str, float]:
    """Tokens per second of one batch, from when it was sent and when every request's tokens came (s)."""
    low, high = max(each[0] for each in times), min(each[-1] for each in times)
    tokens = np.concatenate(times)
    inside = int(((tokens > low) & (tokens <= high)).sum())
    return {"decode": inside / (high - low), "whole": len(tokens) / (tokens.max() - begin)}


def alone(checkpoint: Path, dtype: str, batch: int) -> list[dict[str, float]]:
    """The engine in this process, scheduler included."""
    from hasten.core.request import Request
    from hasten.engine.build import EngineOptions, build_engine
    from hasten.engine.sampling import Chooser, SamplingParams
    from hasten.engine.sequence import Output, Sequence

    options = EngineOptions(
        checkpoint, dtype=dtype, max_num_seqs=batch, max_num_batched_tokens=BUDGET, threads=os.cpu_count()
    )
    engine = build_engine(options)
    vocab = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    params, numbers = SamplingParams(temperature=0.0, ignore_eos=True), np.random.default_rng(0)
    found = []
    for number in range(1 + COUNTED):
        times: dict[int, list[float]] = {number * batch + i: [] for i in range(batch)}

        def heard(output: Output, times: dict[int, list[float]] = times) -> None:
            times[output.sequence.request.id].append(time.perf_counter())

        begin, spent = time.perf_counter(), time.process_time()
        for name in times:
            prompt = numbers.integers(5, vocab, PROMPT).tolist()
            request = Request(name, 0.0, PROMPT, OUTPUT)
            engine.submit(Sequence(request, prompt, Chooser(params, prompt), heard))
        engine.run_until_idle()
        spent = time.process_time() - spent
        found.append(rates([np.array(each) for each in times.values()], begin))
        found[-1]["cpu_ms"] = 1e3 * spent / (batch * OUTPUT)
    return found[1:]


def served(checkpoint: Path, dtype: str, batch: int) -> list[dict[str, float]]:
    """The same through `hasten serve` and the load generator."""
    from hasten.engine.load import Load, Target
    from hasten.workload import Workload

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    flags = ["--port", port, "--dtype", dtype, "--max-num-seqs", batch, "--max-num-batched-tokens", BUDGET]
    command = [sys.executable, "-m", "hasten", "serve", checkpoint, *flags, "--threads", os.cpu_count()]
    ones = np.ones(batch, dtype=np.int32)
    work = Workload(
        arrival=0.0 * ones,
        prompt_tokens=PROMPT * ones,
        output_tokens=OUTPUT * ones,
        max_tokens=OUTPUT * ones,
        origin="benchmark",
    )
    found = []
    vocab = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as server:
        try:
            while not answers(url):
                if server.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.2)
            for number in range(1 + COUNTED):
                load = Load(Target(url, checkpoint.name, vocab=vocab, seed=number), work)
                spent, own = cpu_seconds(server.pid), time.process_time()
                asyncio.run(load.run())
                found.append(rates([each.token_times for each in load.outcomes], 0.0))
                found[-1]["cpu_ms"] = 1e3 * (cpu_seconds(server.pid) - spent) / (batch * OUTPUT)
                found[-1]["client_ms"] = 1e3 * (time.process_time() - own) / (batch * OUTPUT)
        finally:
            server.terminate()
    return found[1:]


def cpu_seconds(process: int) -> float:
    """CPU time that a process has used (s), from /proc."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Both in turn, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=random_checkpoint.SHAPES, default="smollm-135m")
    parser.add_argument("--dtype", default="int8", help="of our weights (default int8)")
    parser.add_argument("--batch", type=int, default=32, help="requests at once (default 32)")
    parser.add_argument("--rounds", type=int, default=3, help="of engine and server in turn (default 3)")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone is not None:
        print(json.dumps(alone(args.alone, args.dtype, args.batch)))
        return
    found: dict[str, list[dict[str, float]]] = {"engine": [], "server": []}
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name) / args.shape
        random_checkpoint.write(checkpoint, args.shape)
        same = ["--dtype", args.dtype, "--batch", str(args.batch)]
        for number in range(args.rounds):
            print(f"\rround {number + 1}/{args.rounds}", end="", file=sys.stderr)
            command = [sys.executable, __file__, "--alone", str(checkpoint), *same]
            found["engine"] += json.loads(
                subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            )
            found["server"] += served(checkpoint, args.dtype, args.batch)
    print(f"\n{machine()}", file=sys.stderr)
    print(f"{args.shape}, {args.dtype}, batch {args.batch}: median of {len(found['engine'])} batches (range)")
    for who, runs in found.items():
        shown = [f"{figure} {spread([run[figure] for run in runs])} tok/s" for figure in ("decode", "whole")]
        costs = [
            f"{key} {statistics.median(run[key] for run in runs):.3f}" for key in runs[0] if key[-2:] == "ms"
        ]
        print(f"{who}: {', '.join(shown)}; CPU per token: {', '.join(costs)}")
    for figure in ("decode", "whole"):
        engine, server = ([run[figure] for run in runs] for runs in found.values())
        medians, best = statistics.median(server) / statistics.median(engine), max(server) / max(engine)
        print(
            f"{figure}: server over engine {medians - 1.0:+.1%} by medians, {best - 1.0:+.1%} by the best (aim: -10%)"
        )


def spread(values: list[float]) -> str:
    """Median, and from lowest to highest."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


if __name__ == "__main__":
    main()
