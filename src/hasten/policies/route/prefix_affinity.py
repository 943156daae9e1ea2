"""Where the prompt's prefix is cached, unless that replica is overloaded."""

from dataclasses import dataclass

from hasten.core.policy import RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView
from hasten.errors import InputError


@dataclass
class PrefixAffinity(RoutePolicy):
    """Send each request to the replica with the longest cached prefix that is not overloaded; without one, to the
    least loaded.

    Paper: "Preble: Efficient Distributed Prompt Scheduling for LLM Serving", ICLR 2025, arXiv:2407.00023; the
        cache-aware router of SGLang.
    Differs: reads the replicas' true caches instead of a copy of their radix trees; load is a count of requests, and
        the balance test applies to each replica, not to the fleet.
    Needs: prefix block ids in the workload; without them it is least_outstanding.
    Use when: prompts share long prefixes, as conversations and system prompts do, and replicas are several.
    Avoid when: prefixes are not shared: it then only balances the load.
    """

    overload: float = 1.5  # x the outstanding requests of the least loaded replica
    slack: int = 4  # requests above the least loaded that are never overload

    def __post_init__(self) -> None:
        if not self.overload >= 1.0:
            raise InputError(f"overload is {self.overload}: it must be at least 1")
        if self.slack < 0:
            raise InputError(f"slack is {self.slack}: it must be 0 requests or more")

    def choose(self, request: Request, view: ClusterView) -> int:
        """The longest prefix, of those the least load, of those the first."""
        least = min(replica.outstanding for replica in view.replicas)
        limit = max(least + self.slack, self.overload * least)
        fit = [replica for replica in view.replicas if replica.outstanding <= limit]
        return min(fit, key=lambda replica: (-replica.cached_tokens(request), replica.outstanding)).index
