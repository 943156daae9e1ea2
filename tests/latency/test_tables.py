"""Measured step times: the compiled form, physics, jumps, and what happens where nothing was measured."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.accuracy.offsets import fit_offsets
from hasten.accuracy.recorded import load_run
from hasten.core.batch import Chunk
from hasten.core.request import Request
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.tables import TableModel
from hasten.latency.tables.layers import line_through, power_through
from hasten.latency.tables.offsets import Offsets, find_offsets
from hasten.latency.tables.operators import find_operators
from hasten.sim.run import simulate

DENSE = Deployment.of("llama-3.1-8b", "rtx-pro-6000")
EXPERTS = Deployment.of("qwen3-30b-a3b", "rtx-pro-6000")
LOCKSTEP = Deployment.of("qwen3-30b-a3b", "rtx-pro-6000", dp=2, ep=2)
SPLIT = Deployment.of("qwen3-32b", "rtx-pro-6000", tp=2, pp=2)
OPERATORS = Deployment.of("llama-3.1-70b", "h100-sxm", tp=4, step_times="table")
VISITS = Deployment.of("qwen3-235b-a22b", "h200-sxm", tp=8, step_times="table")
WINDOWS = Deployment.of(
    "gpt-oss-120b", "b200-sxm", tp=8, step_times="table"
)  # windowed attention was not timed
ALL = pytest.mark.parametrize(
    "deployment",
    [DENSE, EXPERTS, SPLIT, OPERATORS, VISITS, WINDOWS],
    ids=["dense", "experts", "split", "operators", "operators with experts", "windows"],
)

CHUNKS = st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 20_000)), min_size=1, max_size=3)


def chunks(pairs: list[tuple[int, int]]) -> list[Chunk]:
    request = Request(0, 0.0, 1, 1)
    return [Chunk(request, tokens, context, True) for tokens, context in pairs]


@ALL
@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 256), context=st.integers(1, 20_000))
def test_decode_lines_are_the_step_times(deployment: Deployment, n: int, context: int) -> None:
    a, b, limit = deployment.cost.decode_line(n, n * context)
    assert n * context < limit
    expected = deployment.latency.step_time(decodes=n, decode_context=n * context).seconds
    assert a + b * n * context == pytest.approx(expected, rel=1e-9)


@ALL
@settings(max_examples=30, deadline=None)
@given(pairs=CHUNKS, n=st.integers(0, 200), context=st.integers(1, 20_000))
def test_mixed_steps_are_the_step_times(
    deployment: Deployment, pairs: list[tuple[int, int]], n: int, context: int
) -> None:
    found = deployment.cost.mixed(chunks(pairs), n, n * context)
    step = deployment.latency.step_time(pairs, n, n * context)
    assert found == pytest.approx(step.seconds, rel=1e-9)
    parts = (step.weights, step.kv, step.compute, step.communication, step.launches)
    assert all(part >= 0.0 for part in parts)


@ALL
@pytest.mark.parametrize("n", [1, 7, 64, 256])
def test_decode_lines_join_and_never_fall(deployment: Deployment, n: int) -> None:
    start, before = 0, -math.inf
    for _ in range(100):
        a, b, limit = deployment.cost.decode_line(n, start)
        assert b >= 0.0
        assert a + b * start >= before - 1e-12
        if limit == math.inf:
            return
        before = a + b * limit
        start = math.ceil(limit)
    pytest.fail("a line without end")


@ALL
@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 256), context=st.integers(1, 20_000))
def test_no_step_reads_its_weights_faster_than_the_data_sheet(
    deployment: Deployment, n: int, context: int
) -> None:
    operators = deployment.latency.forward.operators
    read = sum(each.weight_bytes for each in operators if each.routed_share == 1.0)
    step = deployment.latency.step_time(decodes=n, decode_context=n * context)
    assert step.seconds - step.host >= read / deployment.device.memory_bandwidth


def test_a_layer_profiled_from_the_cache_is_reported() -> None:
    model = EXPERTS.latency
    assert isinstance(model, TableModel)
    assert any(text.startswith("o_proj: up to") for text in model.outliers)


def test_decodes_beside_a_prefill_cost_what_was_measured() -> None:
    attention = DENSE.latency.measured_attention(128, 512)
    assert attention is not None
    alone = attention.seconds_of([], 128, 128 * 1024)
    beside = attention.seconds_of([(512, 0)], 128, 128 * 1024) - attention.seconds_of([(512, 0)], 0, 0)
    # 404.9 and 702 to 710 us per layer (by the prefill's past), of 32 layers.
    assert alone == pytest.approx(32 * 404.865e-6)
    assert 32 * 690e-6 < beside < 32 * 711e-6


def test_jumping_is_stepping() -> None:
    run = load_run("llama-3.1-8b-rtx-pro-6000")
    deployment = run.deployment()
    work = run.work.head(60)
    jumped, stepped = (simulate(deployment, work, stepping=each).records for each in (False, True))
    assert deployment.latency.origin == "table"
    for column in ("first_token", "finish"):
        np.testing.assert_allclose(getattr(jumped, column), getattr(stepped, column), rtol=1e-9)


@pytest.mark.parametrize(
    ("model", "device", "given", "reason"),
    [
        ("llama-3.1-70b", "rtx-4090", {"tp": 4}, "nothing was measured for llama-3.1-70b on rtx-4090"),
        ("llama-3.1-8b", "a10", {}, "nothing was measured for llama-3.1-8b on a10"),
        ("llama-3.1-8b", "h100-sxm", {"engine": "sglang"}, "h100-sxm was measured under vllm, not sglang"),
        (
            "llama-3.1-8b",
            "rtx-4090",
            {"kv_dtype": "fp8"},
            "nothing was measured for llama-3.1-8b on rtx-4090",
        ),
        ("llama-3.1-8b", "rtx-4090", {"sigma": 0.5}, "sigma is given"),
    ],
)
def test_where_nothing_was_measured(model: str, device: str, given: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Deployment.of(model, device, step_times="table", **given)  # type: ignore[arg-type]
    assert Deployment.of(model, device, **given).latency.origin == "analytical"  # type: ignore[arg-type]


def test_origins_and_errors() -> None:
    assert DENSE.latency.origin == "table"
    assert EXPERTS.latency.origin == "table"
    assert LOCKSTEP.latency.origin == "table"  # its collectives were measured too
    assert SPLIT.latency.origin == "mixed"  # but no sends between stages
    assert EXPERTS.latency.error > DENSE.latency.error > 0.0
    h100 = Deployment.of("llama-3.1-8b", "h100-sxm", step_times="table").latency
    assert h100.origin == "mixed"
    assert h100.error == Deployment.of("llama-3.1-8b", "h100-sxm").latency.error
    assert (
        Deployment.of("llama-3.1-8b", "rtx-pro-6000", step_times="analytical").latency.origin == "analytical"
    )
    with pytest.raises(InputError, match="'tables' is unknown: use one of auto, table, analytical"):
        Deployment.of("llama-3.1-8b", "rtx-pro-6000", step_times="tables")


def test_offsets_come_back_from_the_steps_they_lengthened() -> None:
    run = load_run("llama-3.1-8b-rtx-pro-6000")
    deployment = run.deployment()
    model = TableModel(
        deployment.model,
        deployment.device,
        deployment.parallelism,
        deployment.profile,
        limits=deployment.limits,
        measured_offsets=Offsets(0.0, 0.0, "none", 0.0),
    )
    found = fit_offsets(run, model)
    known = find_offsets("rtx-pro-6000", "vllm-0.19")
    assert known is not None
    assert found.offsets == pytest.approx((known.every_step, known.mixed_step), abs=1e-6)
    assert found.is_better
    with pytest.raises(InputError, match=r"0 usable windows before 0\.1 s, 6 are needed"):
        fit_offsets(run, model, until=0.1)


def test_interpolation_in_closed_form() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert line_through(x, 3.0 * x + 1.0, np.array([0.0, 1.5, 10.0])) == pytest.approx([1.0, 5.5, 31.0])
    assert power_through(x, 5.0 * x**2, np.array([1.0, 3.0, 8.0])) == pytest.approx([5.0, 45.0, 320.0])
    assert power_through(x, x, np.array([0.5])) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("device", "dtype", "shape"),
    [("h100-sxm", "bf16", (1024, 4096, 4096)), ("l40s", "fp8", (256, 8192, 8192))],
)
def test_products_grow_with_their_shape(device: str, dtype: str, shape: tuple[int, int, int]) -> None:
    tables = find_operators(device)
    assert tables is not None
    m, n, k = shape
    tokens = np.array([m / 2, m, 2 * m], dtype=float)
    times = tables.product_seconds(dtype, tokens, n, k)
    wider = tables.product_seconds(dtype, tokens, n + n // 3, k)
    assert times is not None
    assert wider is not None
    assert (np.diff(times) > 0).all()
    assert (wider >= times).all()
    double = tables.product_seconds(dtype, tokens, 2 * 65536, k)
    single = tables.product_seconds(dtype, tokens, 65536, k)
    assert double == pytest.approx(2 * single)
    assert tables.product_seconds(dtype, tokens, 8, k) is None
