"""Sanity of the physics: no step beats the data sheet, and every second is accounted for."""

from dataclasses import fields, replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.hardware import device_names, load_device
from hasten.latency import AnalyticalModel, Parallelism, StepTime
from hasten.models import load_model, model_names
from hasten.profiles import load_profile

PARTS = ("weights", "kv", "compute", "communication", "launches", "host")
BUILT_IN = [(model, device) for model in model_names() for device in device_names()]


shape = cache(load_model)
device_named = cache(load_device)


@cache
def analytical(model, device, tp=1, **settings):
    return AnalyticalModel(
        shape(model), device_named(device), Parallelism(tp), load_profile("vllm-0.19"), **settings
    )


def never_beats_the_data_sheet(model, step):
    work = model.work(**step)
    seconds = model.step_time(**step).seconds
    assert seconds >= work.bytes / model.device.memory_bandwidth
    assert seconds >= sum(k.flops / model.device.peak_flops(k.dtype) for k in work.kernels)
    assert seconds >= work.launches * 0.999 * min(model.device.kernel_seconds, 1e-6)


@pytest.mark.parametrize("device", device_names())
def test_one_sequence_decodes_no_faster_than_its_bytes_can_be_read(device):
    """For every built-in model: weights (of the experts one token visits) and cache, over the bandwidth."""
    for name in model_names():
        model = analytical(name, device)
        never_beats_the_data_sheet(model, {"decodes": 1, "decode_context": 2047})
        held = model.model
        if not held.is_mixture:
            gathered = 0 if held.tied_embeddings else held.embedding_parameters * held.dtype_bytes
            read = (1 - 3e-4) * held.weight_bytes - gathered + held.kv_bytes(2048)
            seconds = model.step_time((), 1, 2047).seconds
            assert seconds >= read / model.device.memory_bandwidth


@pytest.mark.parametrize("device", device_names())
def test_a_prefill_never_exceeds_the_peak(device):
    """For every built-in model: 2048 tokens at two FLOPs per weight passed through, at the fastest dtype's peak."""
    for name in model_names():
        model = analytical(name, device)
        never_beats_the_data_sheet(model, {"prefills": [(2048, 0)]})
        flops = 2048 * model.model.linear_flops_per_token
        assert model.step_time([(2048, 0)]).seconds >= flops / max(model.device.flops.values())


@settings(max_examples=200)
@given(
    st.sampled_from(BUILT_IN),
    st.lists(st.tuples(st.integers(1, 4096), st.integers(0, 30_000)), max_size=3),
    st.integers(0, 512),
    st.integers(0, 20_000),
)
def test_any_step_keeps_the_bounds_and_its_parts_sum_to_it(pair, prefills, n, mean):
    model = analytical(*pair)
    n = n or (0 if prefills else 1)
    step = {"prefills": prefills, "decodes": n, "decode_context": n * mean}
    never_beats_the_data_sheet(model, step)
    time = model.step_time(**step)
    parts = [getattr(time, part) for part in PARTS]
    assert {part.name for part in fields(StepTime)} == {*PARTS, "origin", "error"}
    assert min(parts) >= 0.0
    assert sum(parts) == pytest.approx(time.seconds, rel=1e-12)
    assert time.origin == "analytical"
    assert 0 < time.error < 1


@given(
    st.sampled_from(BUILT_IN),
    st.integers(1, 2000),
    st.integers(0, 8000),
    st.integers(1, 200),
    st.integers(1, 500),
)
def test_more_work_never_takes_less_time(pair, tokens, context, n, more):
    model = analytical(*pair)
    base = model.step_time([(tokens, context)], n, n * 500).seconds
    larger = [
        model.step_time([(tokens + more, context)], n, n * 500),
        model.step_time([(tokens, context + more)], n, n * 500),
        model.step_time([(tokens, context)], n, n * 500 + more),
        model.step_time([(tokens, context)], n + more, n * 500),
        model.step_time([(tokens, context), (more, 0)], n, n * 500),
    ]
    assert min(time.seconds for time in larger) >= base * (1 - 1e-12)


def test_a_faster_memory_shortens_a_decode_step_only_where_memory_is_read():
    slow = analytical("llama-3.1-8b", "h100-sxm")
    fast = replace(slow, device=replace(slow.device, memory_bandwidth=2 * slow.device.memory_bandwidth))
    before, after = slow.step_time((), 8, 8000), fast.step_time((), 8, 8000)
    assert after.weights == pytest.approx(before.weights / 2)
    assert after.kv == pytest.approx(before.kv / 2)
    assert after.launches == before.launches


def test_a_cache_of_one_byte_halves_the_time_of_reading_it():
    wide = analytical("llama-3.1-8b", "l40s").step_time((), 64, 64 * 4000)
    narrow = analytical("llama-3.1-8b", "l40s", kv_dtype_bytes=1.0).step_time((), 64, 64 * 4000)
    assert narrow.kv == pytest.approx(wide.kv / 2)


def test_decodes_beside_a_prefill_pay_for_unpacked_query_heads():
    """rho = 1 + (4 - 1) sigma: Llama 3.1 8B has 4 query heads per KV head."""
    packed = analytical("llama-3.1-8b", "rtx-4090", sigma=0.0)
    unpacked = analytical("llama-3.1-8b", "rtx-4090", sigma=1.0)
    step = {"prefills": [(16, 0)], "decodes": 128, "decode_context": 128 * 1024}
    chunk = packed.step_time([(16, 0)], 1, 0).kv  # the chunk's own reads, and one decode's single key
    growth = unpacked.step_time(**step).kv / packed.step_time(**step).kv
    assert growth == pytest.approx(4.0, rel=1e-2)
    assert chunk < 1e-3 * packed.step_time(**step).kv
    alone = {"decodes": 128, "decode_context": 128 * 1024}
    assert unpacked.step_time(**alone) == packed.step_time(**alone)
    assert analytical("llama-3.1-8b", "rtx-4090").mixed_sigma == 0.5
    assert analytical("llama-3.1-8b", "h100-sxm").mixed_sigma == 0.0


def test_graphs_pad_decode_batches_and_prefills_up_to_the_largest():
    model = analytical("llama-3.1-8b", "h100-sxm")
    assert [model.padded_tokens(n, has_prefill=False) for n in (1, 3, 9, 512, 513)] == [1, 4, 16, 512, 513]
    assert model.work((), 9, 0).flops == pytest.approx(model.work((), 16, 0).flops, rel=0.07)
    apart = replace(model, limits=replace(model.engine_limits, prefill_graph_sizes=(64, 128)))
    assert [apart.padded_tokens(n, has_prefill=True) for n in (9, 65, 129)] == [64, 128, 129]
    assert apart.padded_tokens(9, has_prefill=False) == 16


def test_without_a_graph_the_host_s_launches_bound_a_small_step():
    """Above the largest graph nothing is captured: a step lasts at least launches x launch time."""
    slow_host = replace(load_device("h100-sxm"), launch_seconds=1e-4)
    model = replace(analytical("llama-3.2-1b", "h100-sxm"), device=slow_host)
    launches = model.work([(513, 0)]).launches
    time = model.step_time([(513, 0)])
    assert time.seconds == pytest.approx(launches * 1e-4)
    assert time.host > 0.5 * time.seconds
    assert model.step_time((), 1, 100).seconds < 0.1 * time.seconds


def test_the_engine_s_offsets_are_signed_and_shown_as_host_time():
    profile = replace(load_profile("vllm-0.19"), host_step_seconds=-0.001, mixed_step_seconds=0.004)
    plain = analytical("llama-3.1-8b", "rtx-4090")
    offset = replace(plain, profile=profile)
    decode = offset.step_time((), 8, 8000)
    assert decode.host == pytest.approx(plain.step_time((), 8, 8000).host - 0.001)
    mixed = offset.step_time([(512, 0)], 8, 8000)
    assert mixed.seconds == pytest.approx(plain.step_time([(512, 0)], 8, 8000).seconds + 0.003)


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"decodes": -1},
        {"decodes": 1, "decode_context": -5},
        {"prefills": [(0, 10)]},
        {"prefills": [(5, -1)]},
    ],
)
def test_impossible_steps_are_refused(step):
    with pytest.raises(InputError, match="step"):
        analytical("llama-3.1-8b", "h100-sxm").step_time(**step)


def test_sigma_is_a_share():
    with pytest.raises(InputError, match="give a share between 0"):
        analytical("llama-3.1-8b", "h100-sxm", sigma=1.5)
