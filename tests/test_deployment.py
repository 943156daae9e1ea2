"""A deployment: names and settings in; limits, KV room, costs, devices and price out."""

from dataclasses import replace

import pytest

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.hardware import load_device
from hasten.latency import LockstepCost, Parallelism
from hasten.models import load_model
from hasten.profiles import load_profile, profile_names


def test_names_and_objects_make_the_same_deployment():
    by_name = Deployment.of("llama-3.1-8b", "h100", tp=2, replicas=3, engine="vllm-0.19", max_num_seqs=64)
    by_object = Deployment(
        load_model("llama-3.1-8b"),
        load_device("h100-sxm"),
        Parallelism(2),
        3,
        load_profile("vllm-0.19"),
        max_num_seqs=64,
    )
    assert by_name == by_object
    assert Deployment.of(by_object.model, by_object.device, tp=2, replicas=3, max_num_seqs=64) == by_object


def test_devices_price_and_label_count_every_replica():
    one = Deployment.of("llama-3.1-70b", "h100-sxm", tp=4)
    two = one.with_replicas(2)
    assert (one.devices, two.devices) == (4, 8)
    assert two.label == "2 x [h100-sxm tp4]"
    assert two.price_per_hour == pytest.approx(8 * load_device("h100-sxm").price_per_hour)
    assert replace(two, price_per_hour_per_device=1.5).price_per_hour == pytest.approx(12.0)
    unpriced = replace(two, device=replace(two.device, price=None))
    assert unpriced.price_per_hour is None


def test_settings_override_the_engine_s_defaults_and_reach_the_scheduler():
    plain = Deployment.of("llama-3.1-8b", "h100-sxm")
    given = Deployment.of(
        "llama-3.1-8b",
        "h100-sxm",
        max_num_seqs=32,
        max_num_batched_tokens=512,
        max_model_len=8192,
        block_size=32,
        prefix_caching=False,
        watermark=0.01,
    )
    assert plain.limits.max_num_seqs == 1024
    limits = given.scheduler_limits
    assert (limits.max_num_seqs, limits.max_num_batched_tokens, limits.max_model_len) == (32, 512, 8192)
    assert (limits.block_size, limits.prefix_caching) == (32, False)
    assert limits.num_blocks == given.kv.usable_blocks
    assert limits.watermark_blocks == int(0.01 * limits.num_blocks)


def test_a_logged_token_count_replaces_the_computed_capacity():
    deployment = Deployment.of("llama-3.1-8b", "h100-sxm", kv_cache_tokens=160_000)
    assert deployment.kv.tokens == 160_000
    assert deployment.kv.origin == "measured"
    assert deployment.scheduler_limits.num_blocks == 160_000 // 16 - 1


def test_a_narrower_cache_holds_more_and_is_read_faster():
    wide = Deployment.of("llama-3.1-8b", "h100-sxm")
    narrow = replace(wide, kv_dtype="fp8")
    assert narrow.kv.tokens == pytest.approx(2 * wide.kv.tokens, rel=1e-3)
    assert narrow.cost.decode_line(8, 0)[1] == pytest.approx(wide.cost.decode_line(8, 0)[1] / 2)


def test_replicas_share_one_compiled_cost():
    one = Deployment.of("llama-3.1-8b", "h100-sxm", max_num_seqs=16)
    assert one.with_replicas(5).cost is one.cost
    a, b, _ = one.cost.decode_line(4, 4000)
    assert a + b * 4000 == pytest.approx(one.latency.step_time((), 4, 4000).seconds)


def test_ranks_that_share_experts_get_a_lockstep_cost():
    deployment = Deployment.of("qwen3-30b-a3b", "rtx-pro-6000", dp=2, ep=2, max_num_seqs=16)
    assert isinstance(deployment.cost, LockstepCost)


@pytest.mark.parametrize("engine", profile_names())
def test_every_engine_profile_makes_a_deployment(engine):
    deployment = Deployment.of("llama-3.1-8b", "h100-sxm", engine=engine)
    limits = deployment.scheduler_limits
    assert limits.admission == deployment.profile.admission
    assert limits.num_blocks > 1000
    assert deployment.cost.decode_line(limits.max_num_seqs, 10_000)[0] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "llama-9b"}, "llama-9b"),
        ({"device": "h900"}, "h900"),
        ({"engine": "vllm-99"}, "vllm-99"),
        ({"tp": 3}, "attention heads"),
        ({"replicas": 0}, "replicas is 0"),
        ({"replicas": 1.5}, "replicas is 1.5"),
        ({"kv_dtype": "fp7"}, "kv_dtype 'fp7' is unknown"),
        ({"price_per_hour_per_device": -1.0}, "price per hour"),
        ({"max_num_seq": 4}, "did you mean 'max_num_seqs'"),
        ({"colour": "red"}, "known settings are"),
        ({"max_model_len": 10**7}, "above the model's context"),
        ({"max_num_seqs": 4096, "max_num_batched_tokens": 128}, "below max_num_seqs"),
        ({"sigma": 2.0}, "sigma"),
    ],
)
def test_mistakes_are_named_at_once(changes, message):
    settings = {"model": "llama-3.1-8b", "device": "h100-sxm", **changes}
    with pytest.raises(InputError, match=message) as caught:
        Deployment.of(settings.pop("model"), settings.pop("device"), **settings)
    assert "\n" not in str(caught.value)


def test_a_model_too_large_for_the_memory_is_refused_when_its_room_is_asked_for():
    deployment = Deployment.of("llama-3.1-70b", "h100-sxm")
    with pytest.raises(InputError, match="does not fit"):
        _ = deployment.kv
