"""A request as a server knows it, and the service level it was promised."""

from dataclasses import dataclass
from typing import Final

# Where a request stands. Literal constants, so that a compiler can put them in place.
WAITING: Final = 0
PREFILLING: Final = 1
DECODING: Final = 2
CLOSING: Final = 3  # its last allowed token is in flight
HELD: Final = 4  # finished, kept until its request-level batch has finished
FINISHED: Final = 5
REJECTED: Final = 6
LOADING: Final = 7  # admitted, its KV on the way from another replica or from host memory


@dataclass(frozen=True)
class SLO:
    """Latency limits in seconds; None means no limit.

    ttft: arrival to first output token. tpot: (finish - first token) / (output tokens - 1). e2e: arrival to
    last token. A request is good when it meets every limit that is set.
    """

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None


class Request:
    """One call to the model: what the client sent, and how far the scheduler has brought it.

    The true output length is not here: a server does not know it. `max_tokens` is the cap the client set (or
    the room left in the context window). `block_ids` name the prompt's prefix blocks of `block_tokens` tokens
    each, chained: an equal id means an equal prefix up to and including that block. `block_ends`, where given, are
    the tokens up to which each id reaches instead, `block_tokens` apart at least: runs of blocks that belong
    together. With `names_answer` ids go on over the answer (full blocks only), so that a later turn finds it cached
    too. `tool` is the kind of tool that the answer calls, -1 for none: a server knows it once the answer is complete,
    so policies read it in `on_finish`.
    """

    __slots__ = (
        "arrival", "base", "block_ends", "block_ids", "block_tokens", "cached", "computed",
        "drained", "exports", "finish", "first_token", "ghost", "id", "incoming", "joined",
        "last_token", "left", "max_tokens", "names_answer", "order", "predicted_output",
        "preemptions", "priority", "prompt_tokens", "reserved", "sampled", "scheduled", "segments",
        "session", "shared", "slo", "status", "target", "tool",
    )  # fmt: skip

    def __init__(
        self,
        id: int,
        arrival: float,
        prompt_tokens: int,
        max_tokens: int,
        *,
        block_ids: tuple[int, ...] = (),
        block_tokens: int = 0,
        session: int = -1,
        priority: int = 0,
        slo: SLO | None = None,
    ) -> None:
        self.id = id
        self.arrival = arrival
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.block_ids = block_ids
        self.block_tokens = block_tokens
        self.block_ends: tuple[int, ...] = ()
        self.names_answer = False
        self.session = session
        self.priority = priority
        self.slo = slo
        self.tool = -1
        self.predicted_output = 0.0
        # Progress, written by the scheduler alone. Tokens in KV: [0, computed) while prefilling;
        # base + (group.clock - joined) while decoding.
        self.status = WAITING
        self.target = prompt_tokens  # tokens to compute before the next one is sampled
        self.computed = 0
        self.incoming = 0  # leading tokens whose KV comes from elsewhere
        self.exports = False  # its KV stays when it finishes, until another replica has it
        self.sampled = 0  # output tokens whose sampling was scheduled before `joined`
        self.base = 0
        self.joined = -1
        self.left = -1
        self.order = 0  # admission number: the scheduler's running order
        # KV books, written by the block pool alone.
        self.segments: list[Segment] = NO_SEGMENTS
        self.shared = 0  # leading blocks, which lie in `segments`: those offered to the prefix cache
        self.ghost: Segment | None = None
        self.reserved = 0
        # Stamps (seconds) and counts for the record, written by scheduler and driver.
        self.drained = -1.0
        self.scheduled = -1.0
        self.first_token = -1.0
        self.last_token = -1.0
        self.finish = -1.0
        self.cached = 0
        self.preemptions = 0

    def __repr__(self) -> str:
        return f"Request({self.id}, arrival={self.arrival:g}, prompt={self.prompt_tokens})"


# What a segment holds.
BLANK: Final = 0
SHARED: Final = 1
REMAINS: Final = 2


class Segment:
    """A run of KV blocks with one fate: shared cached content, a preempted request's remains, or blank blocks.

    Blank ones in use are duplicates of cached content. `key` is the prefix id of shared content. `blocks` counts
    resident blocks from the beginning of the run: eviction eats from its end. `users` is the number of requests
    that hold it; at 0 it waits for eviction as queue entry number `entry` (0: not queued). In host memory the run may
    lack its beginning: `start` is its first block there. Times in seconds.
    """

    __slots__ = ("blocks", "created", "entry", "key", "kind", "released", "reuses", "start", "users")

    def __init__(self, kind: int, key: int, blocks: int, created: float) -> None:
        self.kind = kind
        self.key = key
        self.start = 0
        self.blocks = blocks
        self.users = 0
        self.entry = 0
        self.created = created
        self.released = created
        self.reuses = 0


NO_SEGMENTS: Final[list[Segment]] = []
