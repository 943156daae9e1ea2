"""Laws and closed forms of a shape: counting, sharding, pipeline stages, cache and work."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.models import Attention, FeedForward, LayerGroup, Linear, ModelShape, load_model, model_names

no_deadline = settings(deadline=None)  # the machine may be busy
powers = st.sampled_from([1, 2, 4, 8, 16])


@st.composite
def shapes(draw: st.DrawFn) -> ModelShape:
    """A small grouped-query model whose sizes divide by every power of two up to 16."""
    kv_heads = draw(powers)
    heads = 16 * kv_heads
    window = draw(st.none() | st.integers(1, 64))
    bias = draw(st.booleans())
    attention = Attention(
        "gqa", heads, kv_heads=kv_heads, head_dim=draw(st.integers(1, 8)), bias=bias, window=window,
        qk_norm=draw(st.booleans()), sinks=draw(st.booleans()), output_bias=draw(st.booleans()),
    )  # fmt: skip
    wide = FeedForward(16 * draw(st.integers(1, 8)), draw(st.sampled_from([2, 3])), bias=bias)
    mixed = FeedForward(
        16, experts=16 * draw(st.integers(1, 2)), top_k=draw(st.integers(1, 4)),
        shared_intermediate=16 * draw(st.integers(0, 2)), router_bias=draw(st.booleans()),
    )  # fmt: skip
    groups = (LayerGroup(draw(st.integers(1, 4)), attention, ffn=wide),)
    if draw(st.booleans()):
        groups += (LayerGroup(draw(st.integers(1, 4)), attention, ffn=mixed),)
    return ModelShape(
        "drawn", "Drawn", hidden=16 * draw(st.integers(1, 4)), vocab=16 * draw(st.integers(1, 8)), layers=groups,
        tied_embeddings=draw(st.booleans()),
    )  # fmt: skip


@no_deadline
@given(shapes())
def test_sixteen_bit_weights_are_two_bytes_a_parameter(model: ModelShape) -> None:
    assert model.weight_bytes == 2 * model.parameters
    assert model.active_parameters <= model.parameters


@no_deadline
@given(shapes(), powers, st.integers(1, 3))
def test_devices_together_hold_at_least_the_model(model: ModelShape, tp: int, pp: int) -> None:
    pp = min(pp, model.num_layers)
    fullest = model.weight_bytes_per_device(tp, pp)
    assert fullest * tp * pp >= model.weight_bytes
    assert fullest <= model.weight_bytes_per_device(1, pp)


@no_deadline
@given(shapes())
def test_more_devices_never_hold_more(model: ModelShape) -> None:
    for smaller, larger in itertools.pairwise([1, 2, 4, 8, 16]):
        assert model.weight_bytes_per_device(larger) <= model.weight_bytes_per_device(smaller)
        if model.is_mixture:
            one = model.weight_bytes_per_device(1, 1, smaller)
            assert model.weight_bytes_per_device(1, 1, larger) <= one


@no_deadline
@given(shapes(), st.integers(1, 8))
def test_stages_partition_the_layers_in_order(model: ModelShape, pp: int) -> None:
    pp = min(pp, model.num_layers)
    stages = model.stages(pp)
    assert [layer for stage in stages for layer in stage] == list(range(model.num_layers))
    sizes = [len(stage) for stage in stages]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[-1] == min(sizes)  # the last stage holds the head as well


@no_deadline
@given(shapes(), st.integers(0, 200))
def test_cache_grows_with_context_up_to_the_windows(model: ModelShape, context: int) -> None:
    here, next_one = model.kv_bytes(context), model.kv_bytes(context + 1)
    assert 0 <= next_one - here <= model.kv_bytes_per_token()
    assert here <= context * model.kv_bytes_per_token()
    if all(group.attention.window is None for group in model.layers):
        assert here == context * model.kv_bytes_per_token()


@no_deadline
@given(shapes(), powers)
def test_cache_on_a_device(model: ModelShape, tp: int) -> None:
    part = model.kv_bytes_per_token_per_device(tp)
    replicas = max(1, tp // model.layers[0].attention.kv_heads)
    assert part * tp == model.kv_bytes_per_token() * replicas


@no_deadline
@given(shapes())
def test_linear_flops_are_two_per_active_weight(model: ModelShape) -> None:
    weights = sum(
        group.count * linear.active * linear.weights // linear.copies
        for group in model.layers
        for linear in group.linears(model.hidden)
    )
    assert model.linear_flops_per_token == 2 * weights
    assert model.head_flops_per_token == 2 * model.hidden * model.vocab


@no_deadline
@given(st.integers(1, 64), st.integers(1, 64), powers, st.sampled_from(["column", "row"]))
def test_shards_cover_the_matrix(n_in: int, n_out: int, tp: int, shard: str) -> None:
    linear = Linear("any", n_in, n_out, shard="column" if shard == "column" else "row")
    part = linear.sharded(tp)
    assert part.weights * tp >= linear.weights
    assert linear.sharded(1) == linear
    cut = n_out if shard == "column" else n_in
    if cut % tp == 0:
        assert part.weights * tp == linear.weights


def test_linears_of_a_grouped_layer() -> None:
    model = load_model("llama-3.1-8b")
    found = {each.name: (each.n_in, each.n_out, each.shard) for each in model.layers[0].linears(model.hidden)}
    assert found == {
        "qkv_proj": (4096, 6144, "column"),
        "o_proj": (4096, 4096, "row"),
        "gate_up_proj": (4096, 28672, "column"),
        "down_proj": (14336, 4096, "row"),
    }


def test_key_value_heads_are_replicated_past_their_number() -> None:
    model = load_model("llama-3.1-8b")
    qkv = model.layers[0].linears(model.hidden)[0]
    assert qkv.sharded(8).n_out == 4 * 128 + 2 * 128
    assert qkv.sharded(16).n_out == 2 * 128 + 2 * 128
    assert model.kv_bytes_per_token_per_device(8) == model.kv_bytes_per_token_per_device(16) == 131_072 / 8


def test_weights_per_device_closed_form() -> None:
    model = load_model("llama-3.1-8b")
    hidden, norms = 4096, 65 * 4096
    layer = hidden * 6144 + hidden * hidden + 3 * hidden * 14336
    assert model.weight_bytes_per_device(2) == 2 * (32 * layer / 2 + 128_256 * hidden + norms)
    # Two stages: embedding with the first 16 layers, final norm and head with the rest.
    assert model.weight_bytes_per_device(1, 2) == 2 * (16 * layer + 128_256 * hidden + 33 * hidden)


def test_latent_attention_is_partly_replicated() -> None:
    model = load_model("deepseek-v3")
    names = {each.name: each for each in model.layers[1].linears(model.hidden)}
    latent = names["qkv_a_proj"]
    assert (latent.n_out, latent.sharded(8)) == (1536 + 576, latent)
    assert names["q_b_proj"].sharded(8).n_out == 128 * 192 // 8
    assert names["kv_b_proj"].sharded(8).n_out == 128 * 256 // 8
    assert names["expert_gate_up_proj"].sharded(8).n_out == 2 * 2048 // 8
    assert names["expert_gate_up_proj"].sharded(8, 16).copies == 16
    assert names["expert_gate_up_proj"].sharded(8, 16).n_out == 2 * 2048
    assert names["shared_down_proj"].sharded(8, 16).n_in == 2048 // 8
    assert model.kv_bytes_per_token_per_device(8) == model.kv_bytes_per_token()


def test_experts_go_whole_to_their_devices() -> None:
    model = load_model("mixtral-8x7b")
    expert = 3 * 4096 * 14336 * 2 * 32
    one, eight = model.weight_bytes, model.weight_bytes_per_device(1, 1, 8)
    assert one - eight == 7 * expert
    assert model.weight_bytes_per_device(8, 1, 8) == model.weight_bytes_per_device(8)


def test_tied_table_is_held_once_and_on_both_ends_of_a_pipeline() -> None:
    model = load_model("llama-3.2-1b")
    table = model.embedding_parameters
    assert model.weight_bytes == 2 * model.parameters
    layers = model.parameters - table - model.hidden
    assert model.weight_bytes_per_device(1, 2) == 2 * (layers / 2 + table + model.hidden)


def test_attention_flops() -> None:
    model = load_model("llama-3.1-8b")
    assert model.attention_flops(1000) == 4 * 32 * 32 * 128 * 1000  # 4 x layers x heads x head_dim x context
    windowed = load_model("mistral-7b-v0.1")
    assert windowed.attention_flops(10**6) == windowed.attention_flops(4096)
    latent = load_model("deepseek-v3")
    assert latent.attention_flops(10) == 61 * 2 * 128 * (512 + 64 + 512) * 10


def test_dense_forward_is_near_two_flops_a_parameter() -> None:
    model = load_model("llama-3.1-70b")
    flops = model.linear_flops_per_token + model.head_flops_per_token
    assert flops == pytest.approx(2 * (model.active_parameters - model.embedding_parameters), rel=1e-4)


BAD_CUTS = [
    ("llama-3.1-8b", (3, 1, 1), "tp 3 does not divide the 32 attention heads"),
    ("llama-3.1-8b", (64, 1, 1), "tp 64 does not divide the 32 attention heads"),
    ("llama-3.1-8b", (0, 1, 1), "tp 0 is not a whole number of devices"),
    ("llama-3.1-8b", (1, -2, 1), "pp -2 is not a whole number of devices"),
    ("llama-3.1-8b", (1, 33, 1), "pp 33 exceeds the 32 layers"),
    ("llama-3.1-8b", (1, 1, 2), "ep 2 exceeds the 0 experts: give 1 or less"),
    ("mixtral-8x7b", (1, 1, 16), "ep 16 exceeds the 8 experts"),
    ("qwen2.5-7b", (8, 1, 1), "tp 8 does not divide the 28 attention heads"),
    ("qwen2.5-14b", (5, 1, 1), "tp 5 is no divisor or multiple of the 8 key-value heads"),
    ("deepseek-v3", (True, 1, 1), "tp True is not a whole number"),
]


@pytest.mark.parametrize(("name", "sizes", "message"), BAD_CUTS)
def test_impossible_cuts_are_refused(name: str, sizes: tuple[int, int, int], message: str) -> None:
    model = load_model(name)
    with pytest.raises(InputError) as error:
        model.weight_bytes_per_device(*sizes)
    assert str(error.value).startswith(f"{name}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", model_names())
def test_eight_way_tensor_parallelism_where_heads_allow(name: str) -> None:
    model = load_model(name)
    fits = all(group.attention.heads % 8 == 0 for group in model.layers)
    if not fits:
        with pytest.raises(InputError):
            model.check_parallelism(8)
        return
    model.check_parallelism(8)
    assert model.weight_bytes / 8 <= model.weight_bytes_per_device(8) < model.weight_bytes / 4
