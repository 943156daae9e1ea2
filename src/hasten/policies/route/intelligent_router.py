"""A router that weighs what a request does to a replica, by weights that were learnt in the simulator."""

from collections.abc import Sequence
from dataclasses import dataclass

from hasten.core.policy import HOLD, RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView, Estimates, ReplicaView
from hasten.errors import InputError
from hasten.policies.admit.slo_gate import predicted_ttft

MOST = 10.0  # cap on each feature, so that one of them can't decide alone


@dataclass
class IntelligentRouter(RoutePolicy):
    """Send each request where it does least harm: to itself by waiting, to those that decode there by its prompt and by
    its answer, and by crowding KV. Keep it at the router while every replica is over its limit of KV.

    The default weights are the heuristic (equal harm to prompt and answers); learnt ones come from
    `hasten.claims.intelligent_router`.

    Paper: "Intelligent Router for LLM Workloads: Improving Performance Through Workload-Aware Load Balancing", 2024,
        arXiv:2408.13510.
    Differs: a linear score of five features, learnt by searching weights in the simulator (cross-entropy method), not
        a deep Q network over histograms; decisions come with arrivals and retries, not at every tick.
    Needs: a latency model, and a length predictor.
    Use when: prompts and answers differ widely between requests, and KV is short enough that sequences are preempted.
    Avoid when: KV is ample and prefill chunked, or requests are alike: least_outstanding does as well.
    """

    wait: float = 0.5  # weight of predicted seconds to the first token
    stall: float = 0.5  # weight of seconds that its prompt takes from those who decode there
    slowdown: float = 0.5  # weight of seconds that its answer adds to theirs
    crowding: float = 0.0  # weight of the share of KV in use
    queue: float = 0.0  # weight of requests there, in tens
    hold: float = 2.0  # share of KV in use above which a replica gets nothing new; 1 or more: never

    def __post_init__(self) -> None:
        if not self.hold > 0.0:
            raise InputError(f"hold is {self.hold}: it must be above 0")

    @property
    def retry(self) -> float:
        """The router decides every 20 ms."""
        return 0.02

    @classmethod
    def learnt(cls, weights: Sequence[float]) -> "IntelligentRouter":
        """A router with weights in the order of its parameters."""
        wait, stall, slowdown, crowding, queue, hold = weights
        return cls(wait, stall, slowdown, crowding, queue, max(0.5, hold))

    def choose(self, request: Request, view: ClusterView) -> int:
        """The least harm, or HOLD. Raises InputError without a latency model."""
        estimates = view.estimates
        if estimates is None:
            raise InputError("route policy intelligent_router needs a latency model: simulate with one")
        open_ones = [each for each in view.replicas if each.kv_usage <= self.hold or not each.outstanding]
        if not open_ones:
            return HOLD
        return min(open_ones, key=lambda each: (self._harm(request, each, estimates), each.index)).index

    def _harm(self, request: Request, replica: ReplicaView, estimates: Estimates) -> float:
        num, context = replica.num_decodes, replica.decode_context
        tokens = request.predicted_output or 128.0
        own = estimates.prefill_seconds(min(request.prompt_tokens, replica.token_budget), 0)
        wait = predicted_ttft(request, replica, estimates)
        longer = 0.0
        if 0 < num < replica.slots:
            longer = estimates.decode_seconds(num + 1, context + request.prompt_tokens)
            longer -= estimates.decode_seconds(num, context)
        return (
            self.wait * min(wait, MOST)
            + self.stall * min(num * own, MOST)
            + self.slowdown * min(max(0.0, longer) * tokens * num, MOST)
            + self.crowding * replica.kv_usage
            + self.queue * min(replica.outstanding / 10.0, MOST)
        )
