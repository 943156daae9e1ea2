"""Random streams named by role: adding a consumer never moves the numbers of another."""

import numpy as np

from hasten.errors import InputError


def stream(seed: int, role: str) -> np.random.Generator:
    """The generator of one role ("arrivals", "prompt", ...) under one seed (0 or more)."""
    if seed < 0:
        raise InputError(f"seed = {seed} is below 0: give a whole number, 0 or more")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(role.encode())))
