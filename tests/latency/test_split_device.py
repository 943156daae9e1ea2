"""One device in two shares: bounds, the whole device as a limit, the search, and a run by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.claims import nexus
from hasten.errors import InputError
from hasten.latency.split_device import SLACK_DECODE, SLACK_PREFILL, Demand, SplitDevice, best_share

DEVICE = SplitDevice(compute=1e14, bandwidth=1e12)
prefills = st.builds(nexus.prefill_demand, st.integers(1, 4096), st.integers(0, 20_000))
decodes = st.integers(1, 64).flatmap(
    lambda n: st.builds(nexus.decode_demand, st.just(n), st.integers(n, 4000 * n))
)
shares = st.floats(0.05, 0.95)


@given(prefills, decodes, shares)
def test_company_and_a_smaller_share_never_help(prefill: Demand, decode: Demand, share: float) -> None:
    for seconds, own, other in (
        (DEVICE.prefill_seconds, prefill, decode),
        (DEVICE.decode_seconds, decode, prefill),
    ):
        whole, part = seconds(own, 1.0), seconds(own, share)
        assert whole <= part * (1 + 1e-12)
        assert part <= seconds(own, share, other) * (1 + 1e-12)


@given(prefills, decodes)
def test_a_mixed_step_reads_the_weights_once(prefill: Demand, decode: Demand) -> None:
    apart = DEVICE.prefill_seconds(prefill, 1.0) + DEVICE.decode_seconds(decode, 1.0)
    mixed = DEVICE.mixed_seconds(prefill, decode)
    assert max(DEVICE.prefill_seconds(prefill, 1.0), DEVICE.decode_seconds(decode, 1.0)) <= mixed * (
        1 + 1e-12
    )
    assert mixed <= apart * (1 + 1e-12)


@given(prefills, decodes, st.integers(5, 95), st.floats(0, 1))
def test_the_search_keeps_the_slack_where_it_can(
    prefill: Demand, decode: Demand, current: int, usage: float
) -> None:
    percent = best_share(DEVICE, prefill, decode, kv_usage=usage, current=current)
    assert 5 <= percent <= 95
    if percent == current or percent in (5, 95):
        return
    if usage < 0.7:
        limit = SLACK_DECODE * DEVICE.decode_seconds(decode, 1.0)
        assert DEVICE.decode_seconds(decode, 1 - percent / 100, prefill) <= limit * (1 + 1e-12)
    else:
        limit = SLACK_PREFILL * DEVICE.prefill_seconds(prefill, 1.0)
        assert DEVICE.prefill_seconds(prefill, percent / 100, decode) <= limit * (1 + 1e-12)


@pytest.mark.parametrize("variant", list(nexus.VARIANTS))
def test_every_request_ends_and_nothing_overtakes_physics(variant: str) -> None:
    order, run = nexus.VARIANTS[variant]
    jobs = nexus.jobs(1.0, 0)[:60]
    engine = nexus.Engine(order, jobs)
    run(engine, nexus.DEVICE)
    assert engine.used == engine.context == 0
    step = nexus.DEVICE.decode_seconds(nexus.decode_demand(1, 1), 1.0)
    for job in jobs:
        least = nexus.DEVICE.prefill_seconds(nexus.prefill_demand(job.prompt, 0), 1.0)
        assert job.first - job.arrival >= 0.99 * least
        assert job.finish - job.first >= 0.99 * (job.output - 1) * step


@pytest.mark.parametrize("variant", ["chunked", "nexus"])
def test_a_lone_request_has_the_whole_device(variant: str) -> None:
    order, run = nexus.VARIANTS[variant]
    job = nexus.Job(1.0, 1000, 3)
    run(nexus.Engine(order, [job]), nexus.DEVICE)
    prefill = nexus.DEVICE.prefill_seconds(nexus.prefill_demand(1000, 0), 1.0)
    steps = [nexus.DEVICE.decode_seconds(nexus.decode_demand(1, 1001 + at), 1.0) for at in range(2)]
    assert job.first == pytest.approx(1.0 + prefill)
    assert job.finish == pytest.approx(1.0 + prefill + math.fsum(steps))


def test_short_prompts_go_first_until_long_ones_have_aged() -> None:
    long, short, later = nexus.Job(0.0, 500, 1), nexus.Job(0.0, 100, 1), nexus.Job(30.0, 100, 1)
    assert nexus.shortest(short) < nexus.shortest(long) < nexus.shortest(later)


def test_bad_input_is_said() -> None:
    with pytest.raises(InputError, match="memory_saturation is 0"):
        SplitDevice(compute=1.0, bandwidth=1.0, memory_saturation=0.0)
    with pytest.raises(InputError, match="must be above 0"):
        SplitDevice(compute=0.0, bandwidth=1.0)
