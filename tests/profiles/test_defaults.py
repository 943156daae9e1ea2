"""The engines' own tables of defaults: what a server or an offline run starts with on a device."""

import pytest

from hasten.hardware import load_device
from hasten.profiles import EngineProfile, load_profile, profile_names

CONTEXT = 131_072
# (profile, device): max_num_batched_tokens of the server and offline, then max_num_seqs of both.
VLLM_TABLE = {
    ("vllm-0.8.5", "h100-sxm"): (8192, 16384, 1024, 1024),
    ("vllm-0.8.5", "a100-sxm-80g"): (8192, 16384, 1024, 1024),
    ("vllm-0.8.5", "a100-sxm-40g"): (2048, 8192, 256, 256),
    ("vllm-0.8.5", "l40s"): (2048, 8192, 256, 256),
    ("vllm-0.11", "h100-sxm"): (8192, 16384, 1024, 1024),
    ("vllm-0.11", "a100-sxm-80g"): (2048, 8192, 256, 256),
    ("vllm-0.14", "h200-sxm"): (8192, 16384, 1024, 1024),
    ("vllm-0.14", "a100-pcie-80g"): (2048, 8192, 256, 256),
    ("vllm-0.19", "h100-sxm"): (8192, 16384, 1024, 1024),
    ("vllm-0.19", "a100-sxm-80g"): (2048, 8192, 256, 256),
    ("vllm-0.19", "rtx-pro-6000"): (8192, 16384, 1024, 1024),
    ("vllm-0.19", "b200-sxm"): (8192, 16384, 1024, 1024),
    ("vllm-0.19", "rtx-4090"): (2048, 8192, 256, 256),
    ("vllm-0.19", "cpu-2core"): (2048, 4096, 128, 256),
    ("vllm-0.33", "b200-sxm"): (16384, 16384, 1024, 1024),
    ("vllm-0.33", "mi300x"): (16384, 16384, 1024, 1024),
    ("vllm-0.33", "h200-sxm"): (8192, 16384, 1024, 1024),
    ("vllm-0.33", "a100-sxm-80g"): (2048, 8192, 256, 256),
    ("vllm-0.33", "t4"): (2048, 8192, 256, 256),
    ("vllm-cpu-0.32", "cpu-2core"): (2048, 4096, 128, 256),
}


@pytest.mark.parametrize(("profile", "device"), VLLM_TABLE)
def test_vllm_starts_with_its_table_of_defaults(profile: str, device: str) -> None:
    server, offline = (
        load_profile(profile).limits(load_device(device), CONTEXT, offline) for offline in (False, True)
    )
    found = (
        server.max_num_batched_tokens,
        offline.max_num_batched_tokens,
        server.max_num_seqs,
        offline.max_num_seqs,
    )
    assert found == VLLM_TABLE[profile, device]


@pytest.mark.parametrize(
    ("device", "chunk", "decode_graph", "decode_graph_tp4"),
    [
        ("t4", 2048, 8, 8),
        ("l4", 4096, 48, 160),
        ("rtx-4090", 4096, 48, 160),
        ("a100-sxm-40g", 4096, 32, 160),
        ("l40s", 4096, 32, 160),
        ("h100-sxm", 8192, 256, 512),
        ("h200-sxm", 8192, 256, 512),
        ("b200-sxm", 16384, 512, 512),
    ],
)
def test_sglang_chooses_chunk_and_graphs_by_device_memory(
    device: str, chunk: int, decode_graph: int, decode_graph_tp4: int
) -> None:
    profile = load_profile("sglang")
    alone = profile.limits(load_device(device), CONTEXT)
    four = profile.limits(load_device(device), CONTEXT, tp=4, devices=4)
    assert alone.chunk_tokens == alone.max_num_batched_tokens == chunk
    assert (alone.graph_sizes[-1], four.graph_sizes[-1]) == (decode_graph, decode_graph_tp4)
    assert alone.prefill_graph_sizes[-1] == chunk
    assert alone.block_size == 1


def test_tensorrt_llm_starts_with_its_defaults() -> None:
    limits = load_profile("trtllm").limits(load_device("h100-sxm"), CONTEXT)
    assert (limits.max_num_seqs, limits.max_num_batched_tokens, limits.block_size) == (2048, 8192, 32)
    assert limits.graph_sizes[-1] == 128
    assert limits.prefill_graph_sizes == ()
    assert limits.memory_fraction == 0.9


# What sets each profile apart, field by field.
QUIRKS = {
    "vllm-0.8.5": ("fits_now", "newest", 1, False, True, "fraction_of_total", 0.90, False),
    "vllm-0.11": ("fits_now", "newest", 1, False, True, "fraction_of_total", 0.90, False),
    "vllm-0.14": ("fits_now", "newest", 2, False, True, "fraction_of_total", 0.90, False),
    "vllm-0.19": ("fits_now", "newest", 2, True, True, "fraction_of_total", 0.90, False),
    "vllm-0.33": ("fits_now", "newest", 2, True, True, "fraction_of_total", 0.92, True),
    "vllm-cpu-0.32": ("fits_now", "newest", 1, True, True, "fraction_of_total", 0.92, False),
    "sglang-0.5.23": ("expected_output", "fewest_generated", 2, True, False, "static_fraction", 0.0, False),
    "trtllm-1.2": ("max_output", "newest", 2, True, True, "fraction_of_free", 0.9, False),
    "hasten-0.1": ("fits_now", "newest", 1, True, True, "fraction_of_total", 0.8, False),
}


@pytest.mark.parametrize("name", profile_names())
def test_what_sets_an_engine_apart_is_in_its_profile(name: str) -> None:
    profile = load_profile(name)
    found = (
        profile.admission,
        profile.preemption,
        profile.loop_depth,
        profile.reserve_full_sequence,
        profile.mixed_steps,
        profile.memory_rule,
        profile.memory_fraction,
        profile.graph_memory_subtracted,
    )
    assert found == QUIRKS[name]
    # Nothing is known of these on a server that was not measured: the default is no guess.
    assert profile.host_step_seconds == profile.mixed_step_seconds == 0.0
    assert profile.front_end_seconds == profile.front_end_seconds_per_prompt_token == 0.0


def test_sglang_expects_outputs_by_these_constants() -> None:
    profile = load_profile("sglang")
    assert (profile.new_token_ratio, profile.ratio_decay_steps, profile.clip_max_tokens) == (0.7, 600, 4096)
    assert profile.min_token_ratio == pytest.approx(0.14 * profile.new_token_ratio)
    assert (profile.retract_steps, profile.preempted_blocks_cached, profile.one_chunked_request) == (
        20,
        False,
        True,
    )


@pytest.mark.parametrize(
    ("name", "profile"),
    [("vllm", "vllm-0.19"), ("VLLM_0.33", "vllm-0.33"), ("sglang", "sglang-0.5.23"), ("TRTLLM", "trtllm-1.2"),
     ("hasten", "hasten-0.1")],
)  # fmt: skip
def test_an_engine_name_means_its_reference_version(name: str, profile: str) -> None:
    assert load_profile(name).name == profile


def test_every_engine_has_exactly_one_reference_version() -> None:
    profiles = [load_profile(name) for name in profile_names()]
    references = [profile.engine for profile in profiles if profile.is_reference]
    assert sorted(references) == sorted({profile.engine for profile in profiles})


# What vLLM 0.19.0 captured in a recorded run with 256 sequences and 2,048 tokens (LLMServingSim, commit
# 5daddb21a545, real_runs/RTX4090): 51 sizes.
RECORDED = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]


def test_the_captured_sizes_are_those_of_the_recorded_run() -> None:
    profile = load_profile("vllm")
    limits = profile.limits(load_device("rtx-4090"), CONTEXT, max_num_seqs=256, max_num_batched_tokens=2048)
    assert list(limits.graph_sizes) == RECORDED == list(profile.graph_sizes(256, 2048, ceiling=512))
    assert len(RECORDED) == 51
    assert limits.prefill_graph_sizes == limits.graph_sizes


def test_the_largest_graph_is_bounded_by_sequences_tokens_and_device() -> None:
    def largest(profile: EngineProfile, device: str, **given: int) -> int:
        return profile.limits(load_device(device), CONTEXT, **given).graph_sizes[-1]

    reference, newest = load_profile("vllm"), load_profile("vllm-0.33")
    assert largest(reference, "h100-sxm", max_num_seqs=128) == 256
    assert largest(reference, "h100-sxm", max_num_seqs=64, max_num_batched_tokens=100) == 96
    assert largest(reference, "b200-sxm") == largest(newest, "h100-sxm") == 512
    assert largest(newest, "b200-sxm") == 1024
    assert largest(load_profile("sglang"), "h100-sxm", max_num_seqs=100) == 100


def test_a_device_without_graphs_captures_none() -> None:
    limits = load_profile("vllm").limits(load_device("cpu-2core"), CONTEXT)
    assert limits.graph_sizes == limits.prefill_graph_sizes == ()
    assert not limits.has_graph(1)
    assert limits.padded(7) == 7
