"""Attention over a prefix that a whole batch shares: its KV read once per step instead of once per sequence.

RelayAttention, ACL 2024, arXiv:2402.14808: attention over the prefix for all queries together, attention over each own
context, and an exact merge of both by their log-sum-exp.
"""

from __future__ import annotations

from dataclasses import replace

from hasten.errors import InputError
from hasten.latency.analytical import AnalyticalModel
from hasten.latency.attention import ATTENTION_FIXED, AttentionCost
from hasten.latency.step_time import StepTime
from hasten.latency.work import Kernel


def tokens_read(batch: int, prefix: int, own: int, *, relay: bool) -> int:
    """KV tokens that a decode step of `batch` sequences reads: the prefix once with `relay`, else for each."""
    if batch < 1 or prefix < 0 or own < 0:
        raise InputError(f"batch {batch}, prefix {prefix}, own {own}: give 1 or more, and 0 or more tokens")
    return prefix + batch * own if relay else batch * (prefix + own)


def decode_step(model: AnalyticalModel, batch: int, prefix: int, own: int, *, relay: bool) -> StepTime:
    """Device time (s) of one token for `batch` sequences of `own` tokens behind a common prefix, by its parts.

    With `relay` a second attention kernel and a merge run in every layer. FLOPs stay the same; above the device's ridge
    the prefix part is bound by them. Raises InputError for sliding windows, where the prefix leaves the window.
    """
    tokens_read(batch, prefix, own, relay=relay)
    if any(each.window < prefix + own for each in model.forward.attentions):
        raise InputError(
            f"{model.model.name} has windows shorter than {prefix + own} tokens: relay does not apply"
        )
    plain = model.work((), batch, batch * (prefix + own))
    if not relay:
        return model.device_time(plain)
    work = model.work((), batch, batch * own)
    extra: list[Kernel] = []
    for attention in model.forward.attentions:
        extra += _prefix_kernels(attention, batch, prefix)
    return model.device_time(replace(work, kernels=(*work.kernels, *extra)))


def _prefix_kernels(attention: AttentionCost, batch: int, prefix: int) -> list[Kernel]:
    """Attention of all queries over the prefix, and the merge: both partial outputs read, one written."""
    shared = attention.decode(batch, batch * prefix - batch)  # `decode` counts the new token of each
    seen = attention.decode_seen_bytes * prefix
    moved = 3 * 0.5 * attention.decode_new_bytes * batch
    return [
        replace(
            shared, name="prefix attention", launches=attention.layers, fixed=ATTENTION_FIXED, kv_bytes=seen
        ),
        Kernel(name="merge", launches=attention.layers, activation_bytes=moved),
    ]
