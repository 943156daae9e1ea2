"""Laws of the limits: defaults give way to what the user sets, and what an engine refuses is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.hardware import device_names, load_device
from hasten.profiles import load_profile, profile_names

PROFILES = {name: load_profile(name) for name in profile_names()}
DEVICES = {name: load_device(name) for name in device_names()}

profiles = st.sampled_from(sorted(PROFILES)).map(PROFILES.__getitem__)
devices = st.sampled_from(sorted(DEVICES)).map(DEVICES.__getitem__)


@given(profiles, devices, st.integers(256, 2_000_000), st.booleans(), st.sampled_from([1, 2, 4, 8]))
def test_defaults_are_consistent_on_every_device(profile, device, context, offline, tp) -> None:
    limits = profile.limits(device, context, offline, tp=tp, devices=tp)
    assert 1 <= limits.max_num_seqs <= limits.max_num_batched_tokens
    assert limits.max_num_batched_tokens <= limits.max_num_seqs * context
    assert limits.max_model_len == context
    assert limits.chunk_tokens is None or limits.max_num_batched_tokens <= limits.chunk_tokens
    for sizes in (limits.graph_sizes, limits.prefill_graph_sizes):
        assert list(sizes) == sorted(set(sizes))
        assert all(1 <= size <= limits.max_num_batched_tokens for size in sizes)
    assert limits.overridden == ()


@given(profiles, devices, st.integers(1, 4096), st.integers(0, 4096), st.integers(1024, 200_000))
def test_what_the_user_sets_holds(profile, device, seqs, more, context) -> None:
    tokens = seqs + more
    limits = profile.limits(
        device, context, max_num_seqs=seqs, max_num_batched_tokens=tokens, chunk_tokens=10**6, block_size=64
    )
    assert (limits.max_num_seqs, limits.max_num_batched_tokens, limits.block_size) == (seqs, tokens, 64)
    assert limits.overridden == ("block_size", "chunk_tokens", "max_num_batched_tokens", "max_num_seqs")
    assert not limits.graph_sizes or limits.graph_sizes[-1] <= tokens


@given(profiles, devices, st.integers(1, 20_000))
def test_padding_is_the_next_captured_size(profile, device, tokens) -> None:
    limits = profile.limits(device, 131_072)
    padded = limits.padded(tokens)
    assert padded >= tokens
    assert padded == profile.padded(tokens, limits.graph_sizes)
    if limits.has_graph(tokens):
        assert padded in limits.graph_sizes
        assert not any(tokens <= size < padded for size in limits.graph_sizes)
    else:
        assert padded == tokens


def test_a_default_gives_way_to_the_other_limit_the_user_sets() -> None:
    reference, device = PROFILES["vllm-0.19"], DEVICES["h100-sxm"]
    assert reference.limits(device, 131_072, max_num_batched_tokens=512).max_num_seqs == 512
    assert reference.limits(device, 1000, max_num_seqs=2).max_num_batched_tokens == 2000
    whole = reference.limits(device, 32_768, chunked_prefill=False)
    assert whole.max_num_batched_tokens == 32_768
    assert whole.chunk_tokens is None
    small = PROFILES["sglang-0.5.23"].limits(device, 131_072, chunk_tokens=512)
    assert (small.max_num_batched_tokens, small.max_num_seqs) == (512, 512)


def test_a_setting_of_none_is_a_setting_not_given() -> None:
    reference, device = PROFILES["vllm-0.19"], DEVICES["h100-sxm"]
    assert reference.limits(device, 4096, max_num_seqs=None) == reference.limits(device, 4096)


@pytest.mark.parametrize(
    ("given_settings", "expected"),
    [
        ({"max_num_seq": 8}, "'max_num_seq' of vllm-0.19 is unknown: did you mean 'max_num_seqs'"),
        ({"zzz": 8}, "known settings are max_num_seqs"),
        ({"max_num_seqs": 0}, "max_num_seqs = 0 is below 1"),
        ({"max_num_seqs": 2.5}, "max_num_seqs = 2.5 is not a whole number"),
        ({"max_num_seqs": True}, "max_num_seqs = True is not a whole number"),
        ({"max_num_seqs": "8"}, "max_num_seqs = '8' is not a whole number"),
        (
            {"max_num_seqs": 512, "max_num_batched_tokens": 256},
            "max_num_batched_tokens 256 is below max_num_seqs 512",
        ),
        ({"max_model_len": 10_000}, "max_model_len 10000 is above the model's context of 4096"),
        ({"memory_fraction": 90}, "memory_fraction = 90 is outside 0 to 1"),
        ({"memory_fraction": "most"}, "memory_fraction = 'most' is not a number"),
        ({"prefix_caching": "no"}, "prefix_caching = 'no' is not true or false"),
        ({"block_size": -16}, "block_size = -16 is below 1"),
        (
            {"chunked_prefill": False, "max_num_batched_tokens": 2048, "max_num_seqs": 8},
            "without chunked prefill",
        ),
        ({"max_num_seqs": float("inf")}, "max_num_seqs = inf is not a whole number"),
    ],
)
def test_what_an_engine_refuses_is_one_line(given_settings: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        PROFILES["vllm-0.19"].limits(DEVICES["h100-sxm"], 4096, **given_settings)
    assert "\n" not in str(caught.value)
