"""Engine rules of preemption: who loses its KV when blocks run out and the policy does not say. None: nobody can."""

from __future__ import annotations

from hasten.core.books import Books
from hasten.core.request import DECODING, PREFILLING, Request


def newest(scheduler: Books) -> Request | None:
    """vLLM: the last admitted."""
    for request in reversed(scheduler.running.values()):
        if request.status in (DECODING, PREFILLING):
            return request
    return None


def fewest_generated(scheduler: Books) -> Request | None:
    """SGLang: fewest generated tokens, then the longest prompt; then the latest, lest equals take turns for ever."""
    chosen: Request | None = None
    least = (0, 0, 0.0, 0)
    for request in scheduler.running.values():
        if request.status in (DECODING, PREFILLING):
            generated = scheduler.sampled_tokens(request)
            value = (generated, -request.prompt_tokens, -request.arrival, -request.id)
            if chosen is None or value < least:
                chosen, least = request, value
    return chosen
