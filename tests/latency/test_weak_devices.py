"""Tensor parallelism over slow links: hops, windows and memory by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.latency.weak_devices import (
    Cluster,
    Network,
    Weights,
    peak_bytes,
    pipeline_seconds,
    step_seconds,
)

MODEL = Weights(layers=10, block_bytes=1e8, end_bytes=2e8, hidden=1000, kv_bytes=1e4)


def cluster(devices: int, *, disk: float = 1e9, latency: float = 1e-3, bandwidth: float = 1e8) -> Cluster:
    return Cluster(
        devices=devices,
        flops=1e10,
        memory=1e10,
        disk=disk,
        network=Network(latency=latency, bandwidth=bandwidth),
    )


def test_hops_and_payloads_of_each_topology() -> None:
    network = Network(latency=1.0, bandwidth=10.0)
    assert network.all_reduce("star", 4, 100.0) == pytest.approx(2 * (1 + 3 * 10))
    assert network.all_reduce("tree", 4, 100.0) == pytest.approx(4 * (1 + 10))
    assert network.all_reduce("ring", 4, 100.0) == pytest.approx(6 * (1 + 2.5))
    assert network.all_reduce("star", 1, 100.0) == 0.0


@given(st.integers(2, 64))
def test_a_star_takes_two_hops_and_carries_all(devices: int) -> None:
    slow, narrow = Network(latency=1.0, bandwidth=1e30), Network(latency=0.0, bandwidth=1.0)
    ratio = slow.all_reduce("ring", devices, 1.0) / slow.all_reduce("star", devices, 1.0)
    assert ratio == pytest.approx(devices - 1)
    assert narrow.all_reduce("star", devices, 1.0) >= narrow.all_reduce("ring", devices, 1.0) * (1 - 1e-12)


@given(st.integers(1, 16), st.integers(1, 500), st.integers(2, 20))
def test_a_window_hides_the_disk_or_waits_for_it(devices: int, tokens: int, window: int) -> None:
    found = step_seconds(MODEL, cluster(devices), tokens, window=window)
    everything = step_seconds(MODEL, cluster(devices), tokens, window=MODEL.blocks)
    reading = MODEL.blocks * MODEL.block_bytes / devices / 1e9
    if window < MODEL.blocks:
        assert found == pytest.approx(max(everything, reading))
    one = step_seconds(MODEL, cluster(devices), tokens, window=1)
    assert one == pytest.approx(everything + reading)


def test_one_device_is_a_pipeline_of_one() -> None:
    for window in (1, 4, 20):
        alone = step_seconds(MODEL, cluster(1), 3, window=window)
        assert pipeline_seconds(MODEL, cluster(1), 3, window=window) == pytest.approx(alone)


def test_memory_by_hand() -> None:
    assert peak_bytes(MODEL, 4, window=4, context=1000) == pytest.approx((4e8 + 1e7) / 4 + 2e8)
    assert peak_bytes(MODEL, 1, window=99, context=0) == pytest.approx(20e8 + 2e8)


def test_bad_input_is_said() -> None:
    with pytest.raises(InputError, match="latency is"):
        Network(latency=math.nan, bandwidth=1.0)
    with pytest.raises(InputError, match="topology 'mesh' is unknown"):
        Network(latency=0.0, bandwidth=1.0).all_reduce("mesh", 2, 1.0)
    with pytest.raises(InputError, match="0 devices"):
        Network(latency=0.0, bandwidth=1.0).all_reduce("star", 0, 1.0)
    with pytest.raises(InputError, match="must be above 0"):
        cluster(0)
    with pytest.raises(InputError, match="window 0"):
        peak_bytes(MODEL, 1, window=0, context=1)
