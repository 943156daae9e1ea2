"""In how many messages the KV of a request crosses a link, to another pool or from host memory."""

MESSAGES = ("layer", "block", "whole")
"""In how many pieces KV travels: one per layer, two per layer and block (keys and values), or one in all."""


def num_messages(pieces: str, *, layers: int, blocks: int) -> int:
    """Messages of `blocks` KV blocks of a model of `layers` layers; `pieces` is one of MESSAGES."""
    return {"whole": 1, "layer": layers, "block": 2 * layers * blocks}[pieces]
