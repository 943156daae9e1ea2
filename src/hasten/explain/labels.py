"""What a second of a request's life can be spent on. The labels of a request sum to its latency.

This is the one list of causes: texts, families, tables and pages follow from it. A new cause is a line here, and a
charge in `hasten.explain.attribution`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FAMILIES: Mapping[str, str] = {
    "wait": "waiting",
    "moving": "KV on its way",
    "again": "computed again",
    "others": "other requests",
    "prefill": "own prefill",
    "weights": "decode: weights",
    "kv": "decode: KV",
    "rest": "decode: rest",
    "away": "tools and clients",
}
"""Family -> its name: labels that are shown together. Only from `prefill` to `rest` a request's own work is done."""


class Label(NamedTuple):
    """A cause: its name, its family (a key of FAMILIES), and what it means."""

    name: str
    family: str
    text: str


_IN_ORDER = (
    Label("tool", "away", "tools run"),
    Label("client", "away", "the client or user takes its time"),
    Label("queue_admission", "wait", "held at the door by admission or routing policy"),
    Label("front_end", "wait", "front end, before the engine sees it"),
    Label("queue_step", "wait", "queue: a step is under way"),
    Label("queue_step_prefill", "wait", "queue: a step with other requests' prefill is under way"),
    Label("queue_routing", "wait", "queue: another replica stands idle"),
    Label("queue_slots", "wait", "queue: no free slot (max_num_seqs)"),
    Label("queue_budget", "wait", "queue: token budget of the step used up"),
    Label("queue_memory", "wait", "queue: no room in the KV cache"),
    Label("queue_reservation", "wait", "queue: KV room kept for answers under way"),
    Label("queue_policy", "wait", "queue: the scheduling policy keeps the door shut"),
    Label("queue_window", "wait", "queue: batch window, nothing runs"),
    Label("kv_load", "moving", "KV on its way from host memory"),
    Label("prefill_own", "prefill", "own prefill"),
    Label("prefill_evicted", "again", "own prefill of a prefix that this replica had computed"),
    Label("prefill_elsewhere", "again", "own prefill of a prefix that another replica had computed"),
    Label("recompute", "again", "prefill again after a preemption"),
    Label("prefill_others", "others", "other requests' prefill in the same step"),
    Label("decode_others", "others", "other requests' decode in steps of the own prefill"),
    Label("other_ranks", "others", "waiting for data-parallel ranks in the same step"),
    Label("decode_pool_step", "wait", "decode pool: a step is under way"),
    Label("decode_pool_routing", "wait", "decode pool: another replica stands idle"),
    Label("decode_pool_slots", "wait", "decode pool: no free slot (max_num_seqs)"),
    Label("decode_pool_memory", "wait", "decode pool: no room in the KV cache"),
    Label("decode_pool_policy", "wait", "decode pool: token budget or scheduling policy"),
    Label("kv_link", "moving", "KV waits for a link that carries others'"),
    Label("kv_transfer", "moving", "KV crosses the link between the pools"),
    Label("preempted", "wait", "preempted, waiting to come back"),
    Label("decode_weights", "weights", "decode: reading weights"),
    Label("decode_kv", "kv", "decode: reading the KV cache"),
    Label("decode_compute", "rest", "decode: arithmetic and activations"),
    Label("decode_communication", "rest", "decode: communication"),
    Label("decode_launches", "rest", "decode: kernel launches"),
    Label("decode_host", "rest", "decode: waiting for the host"),
    Label("decode", "rest", "decode, not split further"),
    Label("slow_replica", "others", "the replica is slower than its peers"),
    Label("held", "wait", "done, held until its batch ends"),
)

LABELS: Mapping[str, str] = {each.name: each.text for each in _IN_ORDER}
"""Label -> what it means, in the order of a request's life."""

FAMILY_OF: Mapping[str, str] = {each.name: each.family for each in _IN_ORDER}
"""Label -> its family."""

ORDER: Mapping[str, int] = {name: place for place, name in enumerate(LABELS)}

REFUSALS = ("queue_slots", "queue_budget", "queue_memory", "queue_reservation", "queue_policy")
"""Labels by the number that `hasten.core.refusal` gives a reason."""


class Queue(NamedTuple):
    """The labels of waiting for a first chunk: for the engine's turn, there with prefill in its steps; while another
    replica stands idle; by refusal; for a batch to fill while nothing runs; and for tokens once let in."""

    step: str
    step_prefill: str
    routing: str
    refusals: tuple[str, ...]
    window: str
    stalled: str


QUEUE = Queue("queue_step", "queue_step_prefill", "queue_routing", REFUSALS, "queue_window", "queue_budget")
DECODE_POOL = Queue(
    "decode_pool_step",
    "decode_pool_step",
    "decode_pool_routing",
    (
        "decode_pool_slots",
        "decode_pool_policy",
        "decode_pool_memory",
        "decode_pool_memory",
        "decode_pool_policy",
    ),
    "decode_pool_policy",
    "decode_pool_policy",
)
"""Of requests whose prompt another pool has computed."""

PARTS = ("weights", "kv", "compute", "communication", "launches", "host")
"""Parts of a StepTime, each with its label decode_<part>."""
