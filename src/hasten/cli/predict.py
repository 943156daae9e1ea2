"""Time of one decode step and of one prefill, where it goes, and the room for KV: no simulation, no queueing."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hasten.cli.options import deployment, values
from hasten.cli.output import table, text
from hasten.latency import StepTime
from hasten.prediction import CONFIDENCE, PARTS, Prediction, predict

HELP = "time of a decode step and a prefill, where it goes, and KV capacity"
EXAMPLE = "hasten predict llama-3.1-8b --device h100-sxm --batch 32 --context 2048 --prompt 4096"

_NAMES = {
    "weights": "reading weights",
    "kv": "reading the KV cache",
    "compute": "compute and activations",
    "communication": "communication",
    "launches": "kernel launches",
    "host": "waiting for the host",
}


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    deployment.add_model(parser)
    group = parser.add_argument_group("work")
    group.add_argument(
        "--batch",
        type=values.count,
        default=1,
        metavar="N",
        help="sequences that decode together on a rank (default 1)",
    )
    group.add_argument(
        "--context",
        type=values.count,
        default=1024,
        metavar="N",
        help="tokens in KV per sequence (default 1024)",
    )
    group.add_argument(
        "--prompt",
        type=values.count,
        default=1024,
        metavar="N",
        help="tokens of the prompt to prefill (default 1024)",
    )
    deployment.add_split(parser)
    deployment.add_engine(parser)


def run(args: Namespace) -> int:
    """Print the prediction."""
    found = predict(
        deployment.deployment_of(args), batch=args.batch, context=args.context, prompt=args.prompt
    )
    if args.json:
        text.show_json(found.to_dict())
    else:
        text.show(render(found))
    return 0


def render(found: Prediction) -> str:
    """The prediction as text."""
    made, decode, prefill = found.deployment, found.decode, found.prefill
    price = "" if made.price_per_hour is None else f", {made.price_per_hour:,.2f} $/h"
    rank = " per data-parallel rank" if made.parallelism.dp > 1 else ""
    sequences = (
        f"{decode.batch:,} sequence{'s' if decode.batch > 1 else ''}{rank} of {decode.context:,} tokens"
    )
    steps = f" in {prefill.steps} steps" if prefill.steps > 1 else ""
    lines = [
        f"{made.model.name} on {made.label}, {made.profile.name}{price}",
        "",
        f"Decode step: {sequences}",
        *_breakdown(
            decode.time,
            f"= {1 / found.tpot:,.1f} tok/s per user, {found.output_tokens_per_second:,.0f} tok/s in all",
        ),
        _interval(found.decode_interval()),
        "",
        f"Prefill: one prompt of {prefill.prompt:,} tokens alone{steps}",
        *_breakdown(prefill.time, f"= {found.prompt_tokens_per_second:,.0f} prompt tok/s in all"),
        _interval(found.prefill_interval()),
    ]
    if found.ttft > prefill.time.seconds:
        lines.append(f"  {'TTFT with the front end':<26}{found.ttft * 1e3:>10.3f} ms")
    lines += [
        "",
        found.kv.formula,
        *([] if made.host is None else [f"  beside it {made.host.text}"]),
        f"  room for {found.room:,} sequences of {decode.context:,} tokens{rank}",
        *(f"Note: {note}" for note in found.notes),
        "",
        *_provenance(found),
    ]
    return "\n".join(lines)


def _interval(span: tuple[float, float]) -> str:
    """Where the total lies with the stated probability."""
    low, high = (table.number(seconds * 1e3, 3) for seconds in span)
    return f"  {f'{CONFIDENCE:.0%} interval':<26}{low:>10} to {high} ms"


def _provenance(found: Prediction) -> list[str]:
    """Where every number comes from and how far it may be off; once where decode and prefill agree."""
    decode, prefill = found.decode.time, found.prefill.time
    capacity = f"KV capacity {found.kv.origin}" + (f", about {found.kv.error:.0%}" if found.kv.error else "")
    if (decode.origin, decode.error) == (prefill.origin, prefill.error):
        return [f"Origin: {decode.origin}. Error: about {decode.error:.0%} of a step time; {capacity}"]
    steps = [f"{step.origin}, about {step.error:.0%} of a step time" for step in (decode, prefill)]
    return [f"Origin and error: decode {steps[0]}; prefill {steps[1]}; {capacity}"]


def _breakdown(step: StepTime, result: str) -> list[str]:
    """The parts that are not zero, largest first, and their sum."""
    parts = sorted(((getattr(step, part), _NAMES[part]) for part in PARTS), reverse=True)
    rows = [(name, seconds) for seconds, name in parts if seconds]
    lines = [
        f"  {name:<26}{table.number(seconds * 1e3, 3):>10} ms {seconds / step.seconds:>6.1%}"
        for name, seconds in rows
    ]
    return [*lines, f"  {'total':<26}{table.number(step.seconds * 1e3, 3):>10} ms        {result}"]
