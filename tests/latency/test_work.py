"""Work is accounted once: totals match the model's own parameters, FLOPs and KV bytes."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.latency import Parallelism
from hasten.latency.forward import forward_pass
from hasten.models import load_model, model_names

shape = cache(load_model)
DENSE = [name for name in model_names() if not shape(name).is_mixture]
ALL = st.sampled_from(model_names())


def sums(work, *fields):
    return [sum(getattr(kernel, field) for kernel in work.kernels) for field in fields]


@given(ALL, st.integers(1, 4096))
def test_products_of_a_prefill_count_every_weight_twice_per_token(name, tokens):
    model = shape(name)
    work = forward_pass(model, Parallelism()).work([(tokens, 0)], 0, 0)
    products = sum(kernel.flops for kernel in work.kernels if kernel.name != "prefill attention")
    wanted = tokens * model.linear_flops_per_token + model.head_flops_per_token
    assert products == pytest.approx(wanted, rel=1e-9)


@given(st.sampled_from(DENSE), st.integers(1, 4096))
def test_a_dense_pass_reads_every_weight_once(name, tokens):
    """All bytes of the checkpoint but the embedding table (gathered, unless tied) and the norms."""
    model = shape(name)
    (weights,) = sums(forward_pass(model, Parallelism()).work([(tokens, 0)], 0, 0), "weight_bytes")
    table = 0 if model.tied_embeddings else model.embedding_parameters * model.dtype_bytes
    assert weights == pytest.approx(model.weight_bytes - table, rel=2e-4)
    assert weights <= model.weight_bytes - table


@given(ALL, st.integers(1, 200), st.integers(0, 3000))
def test_decoding_reads_the_cache_of_every_sequence_once(name, n, context):
    """Equal contexts: the bytes the cache holds, the new token included."""
    model = shape(name)
    (kv,) = sums(forward_pass(model, Parallelism()).work([], n, n * context), "kv_bytes")
    assert kv == pytest.approx(n * model.kv_bytes(context + 1), rel=1e-9)


@given(ALL, st.integers(1, 100), st.integers(0, 3000))
def test_decode_attention_counts_the_model_s_score_flops(name, n, context):
    model = shape(name)
    work = forward_pass(model, Parallelism()).work([], n, n * context)
    found = sum(kernel.flops for kernel in work.kernels if kernel.name == "decode attention")
    assert found == pytest.approx(n * model.attention_flops(context + 1), rel=1e-9)


@given(st.sampled_from(["llama-3.1-70b", "qwen2.5-32b", "mixtral-8x7b"]), st.sampled_from([2, 4, 8]))
def test_tensor_parallel_devices_share_the_work_evenly(name, tp):
    model = shape(name)
    whole = forward_pass(model, Parallelism()).work([(512, 0)], 4, 4000)
    part = forward_pass(model, Parallelism(tp)).work([(512, 0)], 4, 4000)
    replicated = sum(kernel.flops for kernel in part.kernels if kernel.name == "router")
    assert tp * (part.flops - replicated) + replicated == pytest.approx(whole.flops, rel=1e-9)
    wanted = 2 * model.num_layers + 1
    assert sum(message.count for message in part.messages if message.kind == "all_reduce") == wanted
    assert whole.messages == ()


@given(st.sampled_from(["qwen3-30b-a3b", "mixtral-8x7b", "deepseek-v3"]), st.integers(1, 500))
def test_a_step_reads_the_experts_that_some_token_visits(name, tokens):
    """E (1 - (1 - k/E)^tokens) of E experts: k for one token, all of them for many."""
    model = shape(name)
    work = forward_pass(model, Parallelism()).work([(tokens, 0)], 0, 0)
    found = sum(k.weight_bytes for k in work.kernels if k.name == "expert_gate_up_proj")
    ffn = next(group.ffn for group in model.layers if group.ffn.is_mixture)
    layers = sum(group.count for group in model.layers if group.ffn.is_mixture)
    experts, visited = ffn.experts, ffn.top_k
    linear = next(each for each in ffn.linears(model.hidden) if each.name == "expert_gate_up_proj")
    bits = model.weight_bits(next(g for g in model.layers if g.ffn.is_mixture), linear)
    active = experts * (1 - (1 - visited / experts) ** tokens)
    assert found == pytest.approx(layers * active * linear.n_in * linear.n_out * bits / 8, rel=1e-9)


def test_expert_parallel_ranks_share_experts_and_see_each_other_s_tokens():
    model = shape("qwen3-30b-a3b")
    alone = forward_pass(model, Parallelism()).work([], 64, 64000)
    rank = forward_pass(model, Parallelism(dp=4, ep=4)).work([], 16, 16000, group_tokens=64)

    def experts(work):
        return [(k.flops, k.weight_bytes) for k in work.kernels if k.name.startswith("expert_")]

    for (flops, weights), (rank_flops, rank_weights) in zip(experts(alone), experts(rank), strict=True):
        assert 4 * rank_flops == pytest.approx(flops)
        assert 4 * rank_weights == pytest.approx(weights)
    gathers = [message for message in rank.messages if message.kind == "all_gather"]
    assert [message.count for message in gathers] == [48]
    assert gathers[0].bytes == 64 * (2048 + 128) * 2  # hidden state and router logits of all ranks, bf16


def test_micro_batches_of_a_pipeline_share_the_step():
    model = shape("llama-3.1-8b")
    whole = forward_pass(model, Parallelism()).work([(1024, 512)], 63, 63000)
    part = forward_pass(model, Parallelism(1, 4)).work([(1024, 512)], 63, 63000)
    (flops, kv), (part_flops, part_kv) = (sums(work, "flops", "kv_bytes") for work in (whole, part))
    assert 4 * part_kv == pytest.approx(kv)
    assert 4 * part_flops == pytest.approx(flops, rel=1e-3)  # a micro-batch has 272 of 1087 tokens
    assert [(m.kind, m.count) for m in part.messages] == [("send", 3)]
    lone = forward_pass(model, Parallelism(1, 4)).work([(1024, 0)], 0, 0)
    assert lone.flops == forward_pass(model, Parallelism()).work([(1024, 0)], 0, 0).flops


def test_a_latent_cache_expands_its_past_only_to_prefill():
    """DeepSeek: a chunk behind 1000 cached tokens expands them; a decode reads them as they are."""
    model = shape("deepseek-v3")
    cost = forward_pass(model, Parallelism())
    (attention,) = cost.attentions
    layers, heads = 61, 128
    assert attention.past_flops == layers * heads * 2 * 512 * (128 + 128)
    assert attention.decode_seen_bytes == layers * 576 * 2
    assert attention.mixed_slowdown(1.0) == 1.0
