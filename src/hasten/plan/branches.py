"""Samples side by side and drafted tokens under a deadline: what one question's answer costs in seconds.

"Faster and Better LLMs via Latency-Aware Test-Time Scaling", EMNLP 2025, arXiv:2505.19634: at a batch of one, decoding
waits for weights, so that further samples (branches) and drafted tokens use arithmetic that is idle. Both draw on the
same slack: a step of b branches verifies b (s + 1) tokens for s drafted ones. Accuracies are the caller's: they have to
come from measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hasten.deployment import Deployment
from hasten.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Drafting:
    """Speculative decoding: the deployment that drafts, and the share of its tokens the target accepts, 0 to 1."""

    deployment: Deployment
    acceptance: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.acceptance < 1.0:
            raise InputError(f"acceptance is {self.acceptance}: it must be a share from 0 to below 1")

    def tokens(self, depth: int) -> float:
        """Expected tokens of a round that drafts `depth`: sum of acceptance^i for i from 0 to depth."""
        return sum(self.acceptance**i for i in range(depth + 1))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """So many `branches` with `depth` drafted tokens a round end after `seconds` and are worth `value`."""

    branches: int
    depth: int
    seconds: float
    value: float


def answer_seconds(
    target: Deployment,
    branches: int,
    *,
    prompt: int,
    output: int,
    depth: int = 0,
    drafting: Drafting | None = None,
) -> float:
    """Seconds until `branches` answers of `output` tokens to one prompt are written side by side.

    The prompt is computed once. A step costs what it does at the middle of the answer. With `depth` above 0 each round
    drafts so many tokens per branch, one step each, and the target verifies them in one. Raises InputError.
    """
    for name, value in (("branches", branches), ("prompt", prompt), ("output", output)):
        if value < 1:
            raise InputError(f"{name} is {value}: it must be at least 1")
    if depth < 0 or (depth and drafting is None):
        raise InputError(f"depth is {depth}: it must be 0 tokens, or more where somebody drafts")
    middle = prompt + output // 2
    seconds = target.latency.step_time([(prompt, 0)]).seconds
    verify = target.latency.step_time([(depth + 1, middle)] * branches).seconds
    if not depth or drafting is None:
        return seconds + output * verify
    draft = drafting.deployment.latency.step_time([(1, middle)] * branches).seconds
    return seconds + output / drafting.tokens(depth) * (depth * draft + verify)


def best_under(
    target: Deployment,
    deadline: float,
    value: Callable[[int], float],
    *,
    prompt: int,
    output: int,
    branches: Sequence[int],
    depths: Sequence[int] = (0,),
    drafting: Drafting | None = None,
) -> Choice | None:
    """The choice of the highest `value(branches)` that ends within `deadline` seconds, of equals the fastest.

    None: nothing ends in time. Branches whose context does not fit the KV cache are left out. Raises InputError.
    """
    room = target.kv.usable_blocks * target.limits.block_size
    found: Choice | None = None
    for number in branches:
        if prompt + number * output > room:
            continue
        for depth in depths:
            seconds = answer_seconds(
                target, number, prompt=prompt, output=output, depth=depth, drafting=drafting
            )
            made = Choice(branches=number, depth=depth, seconds=seconds, value=value(number))
            if seconds <= deadline and (
                found is None or (made.value, -made.seconds) > (found.value, -found.seconds)
            ):
                found = made
    return found
