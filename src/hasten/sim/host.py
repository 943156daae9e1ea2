"""Loads from host memory in virtual time: a request waits for its KV while the others run."""

from __future__ import annotations

from functools import partial
from typing import Any

from hasten.core.host import HostCache, TieredPool
from hasten.core.limits import Limits
from hasten.core.policy import CachePolicy
from hasten.core.request import Request
from hasten.errors import InputError
from hasten.latency.host import HostLink
from hasten.policies import load_policy
from hasten.report.stats import HostStats
from hasten.sim.replica import Replica


def tiered(link: HostLink, limits: Limits, cache: CachePolicy) -> TieredPool:
    """A KV pool with the host memory behind `link`. Raises InputError for a policy that host memory can't follow."""
    memory = link.memory
    policy = load_policy("cache", memory.policy)
    if type(policy).on_release is not CachePolicy.on_release:
        raise InputError(
            f"host_kv_policy {memory.policy}: it looks at who releases blocks, which host memory does not see: "
            "use lru, fifo or one_bit"
        )
    host = HostCache(memory.num_blocks, memory.block_size, policy)
    pays = partial(link.pays, budget=limits.max_num_batched_tokens)
    return TieredPool(limits, cache, host, moves=memory.writes == "evicted", pays=pays)


class HostReplica(Replica):
    """A replica with host memory: whoever it admits with a prefix in there waits until that has come over `link`."""

    def __init__(self, *args: Any, link: HostLink, **options: Any) -> None:
        super().__init__(*args, **options)
        self.link = link

    def turn(self) -> list[Request]:
        """A turn of the loop; then the KV of whoever was admitted is sent for."""
        now = self.next_time
        finished = super().turn()
        pulls, log = self.scheduler.pulls, self.tokens.log
        if pulls:
            self.scheduler.pulls = []
            for request in pulls:
                at = self.link.load(request.computed - request.shared * self.scheduler.limits.block_size, now)
                if log is not None:
                    log.loads.append((request.id, now, at))
                self.receive(request, at)
        return finished

    @property
    def host_stats(self) -> HostStats:
        """The counters so far."""
        pool = self.scheduler.pool
        return self.link.stats(pool.host.written_blocks if isinstance(pool, TieredPool) else 0)
