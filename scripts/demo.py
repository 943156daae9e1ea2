"""What `make demo` shows: real traffic, one simulation, then the cheapest deployment for two models."""

from __future__ import annotations

import shlex
import sys
from time import perf_counter

from hasten.cli import main as hasten

DEVICES = "a100-sxm-80g,h100-sxm,h200-sxm,l40s"

# What is said before each command, and the command.
STEPS = (
    (
        "The traffic: one hour of a real chat service (Azure, November 2023), shipped with the package.",
        "hasten workloads show azure-conv",
    ),
    (
        "One server under it: its first 3,000 requests, sped up to 15 per second, on one H100 that runs vLLM.\n"
        "Every request is queued, batched and decoded in virtual time, as the engine's scheduler would.",
        "hasten simulate llama-3.1-8b --device h100-sxm --rate 15 --limit 3000 --ttft 500ms --tpot 50ms",
    ),
    (
        "The question: what is the cheapest way to serve Llama-3.1-8B at 20 requests per second, with 99 % of the\n"
        "first tokens within 500 ms and 99 % of the answers at 50 ms per token or faster? All of the hour's 19,366\n"
        "requests are played on whatever looks cheap among A100, H100, H200 and L40S, in every split and number.",
        f"hasten plan llama-3.1-8b --workload azure-conv --rate 20 --ttft 500ms --tpot 50ms --devices {DEVICES}",
    ),
    (
        "The same for Llama-3.1-70B, which no single one of these devices holds: 10 requests per second, first tokens\n"
        "within 1 s, 60 ms per token.",
        f"hasten plan llama-3.1-70b --workload azure-conv --rate 10 --ttft 1s --tpot 60ms --devices {DEVICES}",
    ),
)


def main() -> int:
    """Run every step; return the first exit status that is not 0."""
    print("hasten in four commands: everything below is computed here and now, on this machine, offline.")
    for number, (words, command) in enumerate(STEPS, 1):
        print(f"\n{number}. {words}\n\n$ {command}\n", flush=True)
        began = perf_counter()
        status = hasten(shlex.split(command)[1:])
        print(f"\n({perf_counter() - began:.1f} s)", flush=True)
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
