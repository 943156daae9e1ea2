"""Attention on the host: bounds that no mode may pass, and modes worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.latency.cpu_attention import Host, Load, best_rate, decode_rates

COST = LinearCost(0.02, per_sequence=1e-4, per_context=1e-6)
loads = st.builds(
    Load,
    gpu=st.integers(1, 20),
    cpu=st.integers(0, 40),
    context=st.integers(1, 4000),
    kv_bytes=st.floats(1e3, 1e6),
    exchange=st.floats(0, 1e6),
)
hosts = st.builds(Host, bandwidth=st.floats(1e6, 1e12), link=st.floats(1e6, 1e11))


@given(loads, hosts)
def test_the_host_delivers_no_more_than_it_can_read_and_send(load: Load, host: Host) -> None:
    alone, *others = decode_rates(COST, load, host)
    for rate in others:
        assert rate.cpu * load.context * load.kv_bytes <= host.bandwidth * (1 + 1e-9)
        assert rate.cpu * load.exchange <= host.link * (1 + 1e-9)
        assert rate.gpu <= alone.gpu * (1 + 1e-9)
        assert rate.step >= alone.step * (1 - 1e-9)
    best = best_rate(COST, load, host)
    assert best.total >= alone.total * (1 - 1e-12)
    if best.mode == "overlapped":
        assert best.step <= 1.05 * alone.step


@given(loads)
def test_without_a_host_or_anybody_on_it_nothing_changes(load: Load) -> None:
    for rate in decode_rates(COST, load, Host(bandwidth=0.0)):
        assert (rate.cpu, rate.total) == (0.0, pytest.approx(load.gpu / rate.step))


def test_modes_by_hand() -> None:
    load = Load(gpu=4, cpu=2, context=1000, kv_bytes=1e5, exchange=0.0)
    alone, _, overlapped = decode_rates(COST, load, Host(bandwidth=1e10))
    assert alone.step == pytest.approx(0.02 + 4e-4 + 4e-3)
    # The host reads 100 sequences/s; two rows join each step as it lasts 20 ms and more.
    assert overlapped.cpu == pytest.approx(2 / overlapped.step)
    assert overlapped.step == pytest.approx(alone.step + 2e-4)
    # Twenty take it 20 ms at ten times the bandwidth, less than the others' step: the GPU passes its layers twice.
    many = Load(gpu=4, cpu=20, context=1000, kv_bytes=1e5, exchange=0.0)
    pipelined = decode_rates(COST, many, Host(bandwidth=1e11))[1]
    assert (pipelined.gpu, pipelined.cpu) == (
        pytest.approx(4 / pipelined.step),
        pytest.approx(20 / pipelined.step),
    )
    assert pipelined.step == pytest.approx(alone.step + 0.02 + 2e-3)


def test_bad_input_is_said() -> None:
    with pytest.raises(InputError, match="bandwidth is"):
        Host(bandwidth=math.nan)
    with pytest.raises(InputError, match="at least one sequence"):
        Load(gpu=0, cpu=1, context=1, kv_bytes=1.0, exchange=0.0)
