"""What a second of a request's life can be spent on. The labels of a request sum to its latency."""

from __future__ import annotations

from collections.abc import Mapping

LABELS: Mapping[str, str] = {
    "front_end": "front end, before the engine sees it",
    "queue_step": "queue: a step is under way",
    "queue_step_prefill": "queue: a step with other requests' prefill is under way",
    "queue_routing": "queue: another replica stands idle",
    "queue_slots": "queue: no free slot (max_num_seqs)",
    "queue_budget": "queue: token budget of the step used up",
    "queue_memory": "queue: no room in the KV cache",
    "queue_reservation": "queue: KV room kept for answers under way",
    "queue_policy": "queue: scheduling policy or batch window",
    "kv_load": "KV on its way from host memory",
    "prefill_own": "own prefill",
    "prefill_evicted": "own prefill of a prefix that this replica had computed",
    "prefill_elsewhere": "own prefill of a prefix that another replica had computed",
    "recompute": "prefill again after a preemption",
    "prefill_others": "other requests' prefill in the same step",
    "decode_others": "other requests' decode in steps of the own prefill",
    "other_ranks": "waiting for data-parallel ranks in the same step",
    "preempted": "preempted, waiting to come back",
    "decode_weights": "decode: reading weights",
    "decode_kv": "decode: reading the KV cache",
    "decode_compute": "decode: arithmetic and activations",
    "decode_communication": "decode: communication",
    "decode_launches": "decode: kernel launches",
    "decode_host": "decode: waiting for the host",
    "decode": "decode, not split further",
    "slow_replica": "the replica is slower than its peers",
    "held": "answer complete, held until its batch ends",
}
"""Label -> what it means, in the order of a request's life."""

ORDER: Mapping[str, int] = {name: place for place, name in enumerate(LABELS)}

REFUSALS = ("queue_slots", "queue_budget", "queue_memory", "queue_reservation", "queue_policy")
"""Labels by the number that `hasten.core.refusal` gives a reason."""

PARTS = ("weights", "kv", "compute", "communication", "launches", "host")
"""Parts of a StepTime, each with its label decode_<part>."""
