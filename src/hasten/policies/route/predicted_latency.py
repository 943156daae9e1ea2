"""The replica whose predicted latency keeps the limits, of those the quickest."""

from dataclasses import dataclass

from hasten.core.policy import RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView, Estimates, ReplicaView
from hasten.errors import InputError
from hasten.policies.admit.slo_gate import predicted_ttft


@dataclass
class PredictedLatency(RoutePolicy):
    """Predict each request's first token and pace on every replica by the latency model; take the one that misses its
    limits by least, of equals the one that ends it first.

    Paper: none; SLO-aware routing on predicted latencies, as the inference gateways of Kubernetes and others do.
    Differs: predictions are those of this project's step times, not of a model trained online.
    Needs: a latency model; a length predictor makes it better (without one answers count as `output` tokens).
    Use when: requests differ in size, replicas in load or cache, and step times are known.
    Avoid when: step times are unknown or wrong by more than loads differ: least_outstanding needs none.
    """

    output: int = 128  # tokens of an answer without a prediction
    room: float = 0.9  # share of KV in use above which a replica is predicted to preempt

    def __post_init__(self) -> None:
        if self.output < 1:
            raise InputError(f"output is {self.output}: it must be at least 1 token")
        if not 0.0 < self.room <= 1.0:
            raise InputError(f"room is {self.room}: it must be a share above 0, at most 1")

    def choose(self, request: Request, view: ClusterView) -> int:
        """The least late, then the soonest done. Raises InputError without a latency model."""
        estimates = view.estimates
        if estimates is None:
            raise InputError("route policy predicted_latency needs a latency model: simulate with one")
        tokens = request.predicted_output or float(min(self.output, request.max_tokens))

        def badness(replica: ReplicaView) -> tuple[float, float, int]:
            first, pace = predicted(request, replica, estimates)
            if replica.kv_usage > self.room:  # a preempted sequence is computed again
                first += pace * tokens * (replica.kv_usage - self.room) / (1.0 - self.room + 1e-9)
            late = 0.0
            if request.slo is not None:
                if request.slo.ttft:
                    late += max(0.0, first / request.slo.ttft - 1.0)
                if request.slo.tpot:
                    late += max(0.0, pace / request.slo.tpot - 1.0)
            return late, first + pace * tokens, replica.index

        return min(view.replicas, key=badness).index


def predicted(request: Request, replica: ReplicaView, estimates: Estimates) -> tuple[float, float]:
    """Seconds to the first token of `request` on `replica`, and per token after it.

    The pace is that of a step with it and all that was sent there.
    """
    together = min(max(replica.outstanding, replica.num_decodes) + 1, replica.slots)
    context = replica.decode_context + replica.queued_tokens + request.prompt_tokens
    return predicted_ttft(request, replica, estimates), estimates.decode_seconds(together, context)
