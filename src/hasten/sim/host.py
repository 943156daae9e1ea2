"""Loads from host memory in virtual time: a request waits for its KV while the others run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hasten.core.host import HostCache, TieredPool
from hasten.core.limits import Limits
from hasten.core.policy import CachePolicy
from hasten.core.request import Request
from hasten.errors import InputError
from hasten.latency.host import HostLink
from hasten.policies import load_policy
from hasten.report.stats import HostStats, total
from hasten.sim.lockstep import LockstepReplica
from hasten.sim.loop import EngineLoop
from hasten.sim.replica import Replica
from hasten.sim.tokens import Tokens


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


def fetch(loop: EngineLoop, tokens: Sequence[Tokens], links: Sequence[HostLink], now: float) -> None:
    """Send for the KV of whoever the ranks of `loop` admitted at `now` (s), each rank over its link."""
    for each, link in zip(tokens, links, strict=True):
        rank = each.scheduler
        pulls, rank.pulls = rank.pulls, []
        for request in pulls:
            at = link.load(request.computed - request.shared * rank.limits.block_size, now)
            if each.log is not None:
                each.log.loads.append((request.id, now, at))
            loop.receive(request, at)


class HostReplica(Replica):
    """A replica with host memory: whoever it admits with a prefix in there waits until that has come over its link.

    Whoever makes one sets `links`.
    """

    links: Sequence[HostLink]

    def turn(self) -> list[Request]:
        """A turn of the loop; then the KV of whoever was admitted is sent for."""
        now = self.next_time
        finished = super().turn()
        if self.scheduler.pulls:
            fetch(self, self._tokens, self.links, now)
        return finished


class HostLockstepReplica(LockstepReplica):
    """The same for ranks that step together, each with its own part of host memory and its own of the `links`."""

    links: Sequence[HostLink]

    def turn(self) -> list[Request]:
        """A turn of the loop; then the KV of whoever was admitted is sent for."""
        now = self.next_time
        finished = super().turn()
        fetch(self, self._tokens, self.links, now)
        return finished


def host_stats(loop: HostReplica | HostLockstepReplica) -> HostStats:
    """The counters of all ranks so far."""
    pools = [rank.pool for rank in loop.ranks]
    written = [pool.host.written_blocks if isinstance(pool, TieredPool) else 0 for pool in pools]
    return total([link.stats(blocks) for link, blocks in zip(loop.links, written, strict=True)])
