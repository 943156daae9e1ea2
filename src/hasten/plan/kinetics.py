"""What test-time scaling costs, attention's memory traffic included: eFLOPs of the Kinetics cost model.

"Kinetics: Rethinking Test-Time Scaling Laws", 2025, arXiv:2506.05333; its public cost model, read at commit e776559.
"""

from __future__ import annotations

from dataclasses import dataclass

from hasten.errors import InputError
from hasten.models import ModelShape

INTENSITY = 562.5  # FLOPs that a device does while it moves one unit of memory traffic, as the public cost model has it


@dataclass(frozen=True, slots=True)
class AttemptCost:
    """Cost of all trials on one question, in FLOPs or their equivalent.

    `parameters` and `attention` are arithmetic; `memory` is KV traffic times the device's intensity. Reading
    the weights is left out: a large batch shares it.
    """

    parameters: float
    attention: float
    memory: float

    @property
    def total(self) -> float:
        """eFLOPs."""
        return self.parameters + self.attention + self.memory


def attempt_cost(
    model: ModelShape,
    *,
    prompt: int,
    output: int,
    trials: int = 1,
    budget: int | None = None,
    intensity: float = INTENSITY,
) -> AttemptCost:
    """Cost of `trials` answers of `output` tokens to a question of `prompt` tokens.

    Trials share the prompt's KV. With a `budget` each token attends to that many keys at most (top-k sparse attention)
    and trials share nothing. Attention per layer: 4 heads head_dim FLOPs and 4 kv_heads head_dim units of traffic per
    token in sight. Raises InputError.
    """
    for name, value in (("prompt", prompt), ("output", output), ("trials", trials), ("budget", budget or 1)):
        if value < 1:
            raise InputError(f"{name} is {value}: it must be at least 1")
    per_key = sum(group.count * group.attention.heads * group.attention.head_dim for group in model.layers)
    per_kv = sum(group.count * group.attention.kv_heads * group.attention.head_dim for group in model.layers)
    shared = keys_seen(prompt, output, budget) * trials
    read = shared if budget is not None else prompt * output + trials * output * output / 2
    return AttemptCost(
        parameters=2.0 * model.active_parameters * output * trials,
        attention=4.0 * per_key * shared,
        memory=4.0 * per_kv * read * intensity,
    )


def keys_seen(prompt: int, output: int, budget: int | None = None) -> float:
    """Keys that an answer attends to, all tokens together: the integral of min(prompt + t, budget) over them."""
    full = prompt * output + output * output / 2
    if budget is None or budget >= prompt + output:
        return full
    if budget <= prompt:
        return float(budget * output)
    return budget * output - (budget - prompt) ** 2 / 2
