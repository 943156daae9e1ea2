"""`hasten compare --measured`: predicted against measured, and where the difference comes from."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from hasten.cli.output import table, text

if TYPE_CHECKING:
    from hasten.accuracy.measured import Joined
    from hasten.deployment import Deployment


def run(args: Namespace, deployment: Deployment) -> int:
    """Join the run with its simulation and print both."""
    from hasten.accuracy.measured import join
    from hasten.calibration.reading import read_requests

    records, users, tool = read_requests(args.measured)
    found = join(deployment, records, users=users, kv_cache_tokens=args.kv_cache_tokens)
    if args.json:
        text.show_json({"measured": str(args.measured), "tool": tool, **found.to_dict()})
    else:
        text.show(
            f"{deployment.model.name} on {deployment.label}; {args.measured} ({tool})\n\n{render(found)}"
        )
    return 0


def render(found: Joined) -> str:
    """The comparison as text."""
    names = list(found.figures[0].parts)
    rows = []
    for each in found.figures:
        parts = [f"{each.parts[name] / each.measured:+.1%}" for name in names]
        figures = [table.number(value * 1e3, 1) for value in (each.measured, each.predicted)]
        rows.append([each.name, *figures, f"{each.error:+.1%}", *parts])
    head = ["figure", "measured ms", "predicted ms", "error", *names]
    each_one = ", ".join(f"{kind} {error:.1%}" for kind, error in found.per_request.items())
    measured, predicted = found.throughput
    lines = [
        table.table(head, rows, right=list(range(1, len(head)))),
        f"Output: {measured:,.1f} tok/s measured, {predicted:,.1f} predicted ({predicted / measured - 1.0:+.1%})",
        f"{found.requests:,} requests, joined one by one; median error of one request: {each_one}",
        f"Steps x {found.step_factor:.3f} would meet the measured mean TPOT"
        + (f"; {found.front_end * 1e3:.1f} ms are missing before the engine" if found.front_end else ""),
        *(f"Note: {note}" for note in found.notes),
        f"Origin: {found.origin}. Error stated: {found.error}",
    ]
    return "\n".join(lines)
