"""Turn away what would come too late."""

import math
from dataclasses import dataclass

from hasten.core.policy import ACCEPT, AdmitPolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView, Estimates, ReplicaView
from hasten.errors import InputError


@dataclass
class SloGate(AdmitPolicy):
    """Reject a request when the least loaded replica can't compute what is queued and its prompt within its TTFT limit.

    Paper: "Serving DNNs like Clockwork: Performance Predictability from the Bottom Up", OSDI 2020, arXiv:2006.02464.
    Differs: one test at the door instead of a plan of every action; the estimate counts queued prompt tokens in full
        steps and one decode step, not the rest of a prefill step under way, nor the wait for KV blocks or slots.
    Needs: TTFT limits (an SLO) on requests and a latency model; who has no limit enters.
    Use when: a late first token is worth nothing, and clients can go elsewhere.
    Avoid when: requests have no TTFT limit, or a late answer is better than none.
    """

    factor: float = 1.0  # x the TTFT limit: larger accepts more

    def __post_init__(self) -> None:
        if not 0.0 < self.factor < math.inf:
            raise InputError(f"factor is {self.factor}: it must be a number above 0")

    def decide(self, request: Request, view: ClusterView) -> bool:
        """Accept when the predicted TTFT keeps the limit. Raises InputError without a latency model."""
        slo = request.slo
        if slo is None or slo.ttft is None:
            return ACCEPT
        if view.estimates is None:
            raise InputError("admit policy slo_gate needs a latency model to predict TTFT: simulate with one")
        replica = min(view.replicas, key=lambda replica: replica.queued_tokens)
        return predicted_ttft(request, replica, view.estimates) <= self.factor * slo.ttft


def predicted_ttft(request: Request, replica: ReplicaView, estimates: Estimates) -> float:
    """Seconds until the first token if `request` went to `replica` now and nothing but computing took time."""
    seconds = 0.0
    if replica.num_decodes:
        seconds += estimates.decode_seconds(replica.num_decodes, replica.decode_context)
    own = max(1, request.prompt_tokens - replica.cached_tokens(request))
    full, rest = divmod(replica.queued_tokens + own, replica.token_budget)
    if full:
        seconds += full * estimates.prefill_seconds(replica.token_budget, 0)
    if rest:
        seconds += estimates.prefill_seconds(rest, 0)
    return seconds
