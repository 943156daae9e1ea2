"""Measured against predicted seconds of every step of a served run, by kind: where a calibration is wrong in shape.

    python benchmarks/truth.py --shape smollm-135m --keep DIR
    python benchmarks/steps.py DIR

A step of a recording lasts until the next turn begins. The recording holds the probes and all loads of `truth.py`,
--since cuts off what came first.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from truth import BUDGET, SEQUENCES, fitted

from hasten.deployment import Deployment
from hasten.engine.recording import Recording
from hasten.latency import AnalyticalModel

EDGES = {
    "decode": (0, 1, 2, 4, 8, 16, 24, 32),  # sequences
    "mixed": (0, 32, 128, 256, 384, 512),  # prefill tokens
    "prefill": (0, 32, 128, 256, 384, 512),
}


def steps(recording: Recording, model: AnalyticalModel, since: float) -> dict[str, list[tuple[float, ...]]]:
    """By kind: (size, context per sequence, seconds measured, seconds predicted) of every step."""
    found: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in EDGES}
    for turn, following in itertools.pairwise(recording.turns):
        made = turn.decision
        if made is None or turn.now < since:
            continue
        chunks = [(tokens, context) for _, tokens, context in made.chunks]
        n, prefilled = len(made.decodes), sum(tokens for tokens, _ in chunks)
        kind = "decode" if not chunks else "mixed" if n else "prefill"
        predicted = model.step_time(chunks, n, made.decode_context).seconds
        context = (made.decode_context + sum(past for _, past in chunks)) / (n + len(chunks))
        found[kind].append((float(prefilled or n), context, following.now - turn.now, predicted))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="what `truth.py --keep` filled")
    parser.add_argument("--calibration", type=int, default=0, help="of which run, in turn (default 0)")
    parser.add_argument("--since", type=float, default=0.0, help="seconds of the recording to leave out")
    args = parser.parse_args()
    checkpoint = next(path.parent for path in args.folder.glob("*/config.json"))
    deployment = Deployment.of(
        str(checkpoint),
        "cpu",
        engine="hasten",
        max_num_seqs=SEQUENCES,
        max_num_batched_tokens=BUDGET,
        calibration=str(fitted(args.folder, args.calibration)),
    )
    recording = Recording.load(args.folder / "steps.jsonl")
    print(
        "| steps | size | number | measured, s | mean, ms | predicted, ms | error |\n|---|---|---|---|---|---|---|"
    )
    for kind, listed in steps(recording, deployment.latency, args.since).items():
        rows = np.array(listed).reshape(-1, 4)
        for low, high in itertools.pairwise(EDGES[kind]):
            some = rows[(rows[:, 0] > low) & (rows[:, 0] <= high)]
            if len(some):
                show(kind, f"{low + 1} to {high}" if high > low + 1 else f"{high}", some)
        if len(rows):
            show(kind, "all", rows)


def show(kind: str, size: str, rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """One line."""
    measured, predicted = rows[:, 2].sum(), rows[:, 3].sum()
    means = [f"{1e3 * total / len(rows):,.1f}" for total in (measured, predicted)]
    error = f"{predicted / measured - 1.0:+.1%}"
    print(f"| {' | '.join([kind, size, f'{len(rows):,}', f'{measured:.1f}', *means, error])} |")


if __name__ == "__main__":
    main()
