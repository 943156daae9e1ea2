"""Serve a Hugging Face checkpoint over HTTP, as OpenAI clients expect, until SIGTERM or Ctrl-C; then drain.

The scheduler is the one that the simulator runs: `--schedule`, `--cache`, `--admit` and `--length` take the same
policies. Needs the extra `engine` (torch, tokenizers, aiohttp).
"""

from __future__ import annotations

import importlib.util
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from hasten.cli.options import values
from hasten.cli.output import text
from hasten.errors import InputError

HELP = "an OpenAI-compatible server of a local checkpoint under the same scheduler"
EXAMPLE = "hasten serve ./my-model --port 8000 --schedule fcfs"
EXAMPLE_NOT_RUN = "needs a checkpoint, and runs until it is stopped"

NEEDED = ("torch", "safetensors", "tokenizers", "jinja2", "aiohttp")


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="checkpoint: config.json, *.safetensors, tokenizer.json"
    )
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    group.add_argument("--port", type=values.whole, default=8000, help="port, 0 for any (default 8000)")
    group.add_argument(
        "--served-model-name", metavar="NAME", help="what clients call the model (default: DIR's name)"
    )
    group.add_argument(
        "--api-key", metavar="KEY", help="clients must send it as `Authorization: Bearer KEY`, on every route"
    )
    group.add_argument(
        "--max-waiting",
        type=values.whole,
        default=256,
        metavar="N",
        help="requests that may wait before others get 429 (default 256)",
    )
    group.add_argument(
        "--max-body-mib", type=values.count, default=8, metavar="N", help="largest request body (default 8)"
    )
    group.add_argument(
        "--drain",
        type=values.duration,
        default=30.0,
        metavar="TIME",
        help="how long a stop waits for answers under way (default 30s)",
    )
    group.add_argument(
        "--record", type=Path, metavar="FILE", help="write every decision to FILE as it is taken"
    )
    _configure_engine(parser)


def _configure_engine(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--device", metavar="NAME", help="cpu, cuda or cuda:N (default: cuda when there is one)"
    )
    group.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16", "int8"),
        default="auto",
        help="of weights (default auto: the fastest on a CPU, by a short measurement, else the checkpoint's)",
    )
    group.add_argument(
        "--kernels",
        choices=("auto", "compiled", "torch"),
        default="auto",
        help="whose kernels (default auto: compiled on first use where a CPU and a C++ compiler allow it)",
    )
    group.add_argument(
        "--max-model-len", type=values.count, metavar="N", help="context window (default: the model's)"
    )
    group.add_argument(
        "--max-num-seqs",
        type=values.count,
        default=64,
        metavar="N",
        help="sequences that run at once (default 64)",
    )
    group.add_argument(
        "--max-num-batched-tokens",
        type=values.count,
        default=1024,
        metavar="N",
        help="tokens per step (default 1024)",
    )
    group.add_argument(
        "--block-size", type=values.count, default=16, metavar="N", help="tokens per KV block (default 16)"
    )
    group.add_argument(
        "--kv-cache-gib",
        type=float,
        metavar="GIB",
        help="memory of the KV cache (default: what the sequences can use, at most a share of the memory)",
    )
    group.add_argument("--no-prefix-caching", action="store_true", help="compute every prompt in full")
    group.add_argument(
        "--threads", type=values.count, metavar="N", help="CPU threads of torch (default: its own choice)"
    )
    group.add_argument(
        "--enforce-eager",
        action="store_true",
        help="launch every kernel of a decode step by itself on CUDA, instead of replaying a captured graph",
    )
    group.add_argument(
        "--seed", type=values.whole, default=0, metavar="N", help="of random policies (default 0)"
    )
    for role in ("schedule", "cache", "admit", "length"):
        group.add_argument(
            f"--{role}", metavar="POLICY", help=f"{role} policy: a name, name:parameter=value, or ./file.py"
        )


def run(args: Namespace) -> int:
    """Serve until told to stop."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"hasten serve needs {', '.join(missing)}: pip install 'hasten[engine]'")
    if args.port > 65535:
        raise InputError(f"--port: {args.port} is no port: give 0 to 65535")
    if args.kv_cache_gib is not None and not args.kv_cache_gib > 0:
        raise InputError(f"--kv-cache-gib: {args.kv_cache_gib} must be more than 0")
    from hasten.engine.config import load_config

    config = load_config(args.directory)  # before torch, which takes seconds to import

    import asyncio

    from hasten.engine.build import build_engine
    from hasten.engine.server import Server, ServerOptions
    from hasten.engine.service import Service
    from hasten.engine.tokenizer import Tokenizer

    engine = build_engine(_engine_options(args), record=args.record)
    service = Service(engine, Tokenizer(args.directory), max_waiting=args.max_waiting)
    name = args.served_model_name or args.directory.resolve().name
    options = ServerOptions(
        name,
        host=args.host,
        port=args.port,
        api_key=args.api_key,
        max_body=args.max_body_mib * 2**20,
        drain=args.drain,
    )
    server = Server(service, options, ends=config.eos, vocab=config.vocab)
    facts = _facts(engine, name)

    def ready(url: str) -> None:
        if args.json:
            text.show_json({"url": url, **facts})
        else:
            apart = ("model", "dtype_reason")
            told = {**facts, "dtype": f"{facts['dtype']}: {facts['dtype_reason']}"}
            listed = ", ".join(f"{key} {value}" for key, value in told.items() if key not in apart)
            text.show(f"serving {name} at {url}/v1 ({listed})")
        sys.stdout.flush()  # it may be a pipe, and the next line comes when the server stops

    def draining(requests: int) -> None:
        waits = f"{requests:,} under way: up to {args.drain:g} s for them, or stop again to drop them"
        print(f"stopping: {waits}", file=sys.stderr, flush=True)

    try:
        asyncio.run(server.run(ready, draining))
    finally:
        if engine.recorder is not None:
            engine.recorder.close()
    return 0


def _facts(engine: Any, name: str) -> dict[str, Any]:
    limits, model = engine.scheduler.limits, engine.executor.model
    return {
        "model": name,
        "device": str(model.device),
        "dtype": model.dtype_name,
        "dtype_reason": engine.executor.reason,
        "kernels": model.kernels,
        "context_tokens": engine.scheduler.max_len,
        "kv_blocks": limits.num_blocks,
        "block_size_tokens": limits.block_size,
    }


def _engine_options(args: Namespace) -> Any:
    from hasten.engine.build import EngineOptions

    return EngineOptions(
        args.directory,
        device=args.device,
        dtype=args.dtype,
        kernels=args.kernels,
        max_model_len=args.max_model_len,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        block_size=args.block_size,
        kv_cache_gib=args.kv_cache_gib,
        prefix_caching=not args.no_prefix_caching,
        policies={role: getattr(args, role) for role in ("schedule", "cache", "admit", "length")},
        seed=args.seed,
        threads=args.threads,
        eager=args.enforce_eager,
    )
