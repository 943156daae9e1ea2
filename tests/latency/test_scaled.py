"""Corrected step costs: decodes and prefills apart, alone and in lock-step."""

from hypothesis import given
from hypothesis import strategies as st

from hasten.core.batch import Chunk
from hasten.core.request import Request
from hasten.deployment import Deployment
from hasten.latency.compiled import LockstepCost
from hasten.latency.scaled import SHORTEST_STEP, adjusted

ANYONE = Request(-1, 0.0, 1, 1)
CHUNKS = [Chunk(ANYONE, 300, 100, True)]
ONE = Deployment.of("llama-3.1-8b", "h100-sxm").cost
TWO = Deployment.of("qwen3-30b-a3b", "h100-sxm", dp=2, ep=2).cost
FACTORS = st.floats(0.5, 2.0)


@given(FACTORS, FACTORS, st.integers(1, 64), st.integers(1, 2000))
def test_parts_scale_apart(decode: float, prefill: float, n: int, context: int) -> None:
    changed = adjusted(ONE, decode, prefill, every=1e-4, mixed=1e-3)
    total = n * context
    a, b, limit = ONE.decode_line(n, total)
    found = changed.decode_line(n, total)
    assert found == (a * decode + 1e-4, b * decode, limit)
    alone = a + b * total
    added = ONE.mixed(CHUNKS, n, total) - alone
    assert abs(changed.mixed(CHUNKS, n, total) - (decode * alone + prefill * added + 1.1e-3)) < 1e-12


def test_nothing_changed_is_the_same_cost() -> None:
    same = adjusted(ONE, 1.0, 1.0)
    assert same.decode_line(8, 8000) == ONE.decode_line(8, 8000)
    assert abs(same.mixed(CHUNKS, 8, 8000) - ONE.mixed(CHUNKS, 8, 8000)) < 1e-12


def test_no_correction_takes_all_of_a_step() -> None:
    assert adjusted(ONE, 1.0, 1.0, mixed=-1.0).mixed(CHUNKS, 8, 8000) == SHORTEST_STEP


def test_lockstep_stays_lockstep() -> None:
    assert isinstance(TWO, LockstepCost)
    changed = adjusted(TWO, 2.0, 3.0)
    assert isinstance(changed, LockstepCost)
    ranks = [(8, 8000), (4, 2000)]
    a, b, limit, leader, steps = TWO.lockstep_decode_line(ranks)
    assert changed.lockstep_decode_line(ranks) == (2 * a, 2 * b, limit, leader, steps)
    mixed = [(CHUNKS, 8, 8000), ([], 4, 2000)]
    alone = a + b * 8000
    assert abs(changed.lockstep_mixed(mixed) - (2 * alone + 3 * (TWO.lockstep_mixed(mixed) - alone))) < 1e-12
    only = [(CHUNKS, 0, 0), ([], 0, 0)]
    assert abs(changed.lockstep_mixed(only) - 3 * TWO.lockstep_mixed(only)) < 1e-12
