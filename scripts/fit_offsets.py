"""Write src/hasten/latency/tables/data/offsets.toml: offsets of measured steps, fitted to recorded runs.

Only stamps of the first 15 seconds of a run are read; everything later is for scoring (`hasten accuracy --since 15`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hasten.accuracy.offsets import fit_lockstep, fit_offsets
from hasten.accuracy.recorded import load_run
from hasten.latency.tables import TableModel
from hasten.latency.tables.offsets import Offsets

FILE = (
    Path(__file__).resolve().parent.parent / "src" / "hasten" / "latency" / "tables" / "data" / "offsets.toml"
)
UNTIL = 15.0
RUNS = ("llama-3.1-8b-rtx-4090", "llama-3.1-8b-rtx-pro-6000")  # runs on one device each
LOCKSTEP = {"rtx-pro-6000": "qwen3-30b-a3b-rtx-pro-6000-dp2"}  # device -> run of ranks that step together


def entry(name: str) -> str:
    """One table of the file."""
    run = load_run(name)
    deployment = run.deployment()
    model = TableModel(
        deployment.model,
        deployment.device,
        deployment.parallelism,
        deployment.profile,
        limits=deployment.limits,
        measured_offsets=Offsets(0.0, 0.0, "none", 0.0),
    )
    found = fit_offsets(run, model, until=UNTIL)
    text = f"{found.windows} windows of the first {UNTIL:g} s of {name}: median error {found.before:.1%}"
    every, mixed = found.offsets
    if found.is_better:
        text = f"fitted to {text} before, {found.after:.1%} after"
    else:
        text = f"none, as a fit gains nothing: {text} without, {found.after:.1%} with"
        every = mixed = 0.0
    lockstep = ""
    if deployment.device.name in LOCKSTEP:
        other = LOCKSTEP[deployment.device.name]
        seconds, before, after = fit_lockstep(load_run(other), until=UNTIL)
        lockstep = f"lockstep_step_ms = {seconds * 1e3:.2f}\n"
        text += f"; lock-step fitted to the first tokens before {UNTIL:g} s of {other}: "
        text += f"median TTFT error {before:.1%} before, {after:.1%} after"
    return (
        f'[[offsets]]\ndevice = "{deployment.device.name}"\nengine = "{deployment.profile.name}"\n'
        f"every_step_ms = {every * 1e3:.3f}\nmixed_step_ms = {mixed * 1e3:.3f}\n{lockstep}error = {found.error:.3f}\n"
        f'origin = "{text}"\n'
    )


def main() -> int:
    """Write the file, or compare with it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when the file is not up to date")
    args = parser.parse_args()
    head = "# Offsets of measured steps by device and engine. Written by scripts/fit_offsets.py.\n\n"
    text = head + "\n".join(entry(name) for name in RUNS)
    if args.check:
        return int(FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
