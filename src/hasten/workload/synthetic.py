"""Workloads drawn from arrival and length distributions, the same for the same seed."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.workload.arrivals import Arrivals
from hasten.workload.columns import MAX_REQUESTS, MAX_TOKENS, ClosedLoop, Floats, Ints
from hasten.workload.lengths import Lengths
from hasten.workload.streams import stream
from hasten.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """The first `tokens` of every prompt come from one of `groups` texts, in addition to the drawn prompt length.

    Prompts then carry block ids of `block_tokens` each: full blocks of the shared text have equal ids, all others
    are the request's own.
    """

    tokens: int
    groups: int = field(default=1, kw_only=True)
    block_tokens: int = field(default=16, kw_only=True)

    def __post_init__(self) -> None:
        for name, value in (
            ("tokens", self.tokens),
            ("groups", self.groups),
            ("block_tokens", self.block_tokens),
        ):
            if not 1 <= value <= MAX_TOKENS:
                raise InputError(f"prefix {name} = {value} is outside 1 to {MAX_TOKENS}")


def synthesise(
    arrivals: Arrivals | ClosedLoop,
    *,
    prompt: Lengths | None = None,
    output: Lengths | None = None,
    pairs: Workload | None = None,
    num_requests: int | None = None,
    duration: float | None = None,
    prefix: SharedPrefix | None = None,
    seed: int = 0,
) -> Workload:
    """Draw a workload of `num_requests`, or of all arrivals before `duration` seconds.

    Lengths come from `prompt` and `output`, or together from the rows of `pairs` (which keeps their correlation).
    Arrivals, prompts, outputs and prefixes have random streams of their own: changing one leaves the others.
    The realised rate varies as it does in nature; `Workload.scaled` makes it exact. Raises InputError.
    """
    times, loop = _times(arrivals, num_requests, duration, seed)
    num = len(times)
    if pairs is not None:
        if prompt is not None or output is not None:
            raise InputError("lengths come from pairs or from prompt and output, not both: give one")
        rows = stream(seed, "pairs").integers(0, len(pairs), num)
        prompts, outputs = pairs.prompt_tokens[rows], pairs.output_tokens[rows]
        source = f"lengths from {pairs.origin}"
    elif prompt is not None and output is not None:
        prompts, outputs = prompt.draw(stream(seed, "prompt"), num), output.draw(stream(seed, "output"), num)
        source = f"prompt {prompt}, output {output}"
    else:
        raise InputError("lengths are missing: give prompt and output, or pairs")
    columns: dict[str, Any] = {"prompt_tokens": prompts}
    if prefix is not None:
        columns = _prefixed(prompts, prefix, seed)
        source += f", {prefix}"
    return Workload(
        arrival=times,
        output_tokens=outputs,
        closed_loop=loop,
        origin=f"synthetic: {arrivals}, {source}, seed {seed}",
        **columns,
    )


def _times(
    arrivals: Arrivals | ClosedLoop, num: int | None, duration: float | None, seed: int
) -> tuple[Floats, ClosedLoop | None]:
    if (num is None) == (duration is None):
        raise InputError("give either the number of requests or a duration")
    if num is not None and not 1 <= num <= MAX_REQUESTS:
        raise InputError(f"number of requests = {num} is outside 1 to {MAX_REQUESTS:,}")
    if duration is not None and not 0 < duration < float("inf"):
        raise InputError(f"duration = {duration} must be finite and above 0 seconds")
    if isinstance(arrivals, ClosedLoop):
        if num is None:
            raise InputError("a closed loop sends as fast as the server answers: give the number of requests")
        return np.zeros(num), arrivals
    rng = stream(seed, "arrivals")
    if num is not None:
        return arrivals.times(rng, num), None
    times = arrivals.times_until(rng, duration or 0.0)
    if len(times) == 0:
        raise InputError(
            f"no request arrives before {duration} s under {arrivals}: make it longer or the rate higher"
        )
    return times, None


def _prefixed(prompts: Ints, prefix: SharedPrefix, seed: int) -> dict[str, Any]:
    """Prompt lengths with the prefix added, and the block ids.

    Ids [0, groups x shared) are the shared blocks, group by group; each request's other full blocks count up from
    there. The partial last block has no id: nothing could equal it.
    """
    size, num = prefix.block_tokens, len(prompts)
    longer = prompts.astype(np.int64) + prefix.tokens
    shared = prefix.tokens // size
    counts = longer // size
    offsets = np.concatenate(([0], np.cumsum(counts)))
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    group = stream(seed, "prefix").integers(0, prefix.groups, num)
    own = prefix.groups * shared + np.arange(offsets[-1]) - shared * (1 + np.repeat(np.arange(num), counts))
    ids = np.where(place < shared, np.repeat(group * shared, counts) + place, own)
    return {"prompt_tokens": longer, "block_ids": ids, "block_offsets": offsets, "block_tokens": size}
