"""Launch-bound and bandwidth-bound decoding of a 7B model, batch 1, context 2048: four published figures.

"Memory-bound but not bandwidth-limited" (2026) reports, for bf16 in a general framework, the share of the memory
floor reached (L4 81 %, H100 27 %) and the gain of CUDA graphs (H100 1.259x, L4 1.028x). One set of three constants
(eta, fixed seconds per kernel, seconds per launch), fitted to three of the figures, has to give the fourth.
"""

from dataclasses import replace

import pytest

from hasten.hardware import load_device
from hasten.latency import AnalyticalModel, Parallelism
from hasten.models import load_model
from hasten.profiles import load_profile

MODEL = load_model("qwen2.5-7b")
PROFILE = load_profile("vllm-0.19")
STEP = {"decodes": 1, "decode_context": 2047}
PEAK = {"l4": 300e9, "h100-sxm": 3.35e12}  # B/s, as in the paper
GRAPH_GAIN_H100, SHARE_H100, SHARE_L4 = 1.259, 0.27, 0.81


def timed(device, eta, per_kernel, per_launch, *, graphs):
    changed = replace(
        load_device(device),
        memory_bandwidth=PEAK[device],
        memory_efficiency=eta,
        kernel_seconds=per_kernel,
        launch_seconds=per_launch,
    )
    model = AnalyticalModel(MODEL, changed, Parallelism(), PROFILE)
    if not graphs:
        model = replace(model, limits=replace(model.engine_limits, graph_sizes=()))
    return model.step_time(**STEP).seconds


def floor(device):
    model = AnalyticalModel(MODEL, load_device(device), Parallelism(), PROFILE)
    return sum(k.weight_bytes + k.kv_bytes for k in model.work(**STEP).kernels) / PEAK[device]


def fitted():
    """eta and seconds per kernel from the two graph times, seconds per launch from the H100 without graphs."""
    kernels = timed("h100-sxm", 1.0, 1.0, 0.0, graphs=True) - timed("h100-sxm", 1.0, 0.0, 0.0, graphs=True)
    launches = AnalyticalModel(MODEL, load_device("l4"), Parallelism(), PROFILE).work(**STEP).launches
    eager_h100 = floor("h100-sxm") / SHARE_H100
    graph_h100, graph_l4 = eager_h100 / GRAPH_GAIN_H100, floor("l4") / SHARE_L4
    traffic = timed("l4", 1.0, 0.0, 0.0, graphs=True) - timed("h100-sxm", 1.0, 0.0, 0.0, graphs=True)
    eta = traffic / (graph_l4 - graph_h100)
    fixed = graph_h100 - timed("h100-sxm", eta, 0.0, 0.0, graphs=True)
    return eta, fixed / kernels, eager_h100 / launches


def test_the_floor_is_the_paper_s():
    """50.8 ms on the L4: 15.2 GB of weights and cache at 300 GB/s."""
    assert floor("l4") == pytest.approx(0.0508, rel=0.08)


def test_one_set_of_constants_gives_all_four_figures_within_the_stated_margins():
    eta, per_kernel, per_launch = fitted()
    assert 0.9 < eta <= 1.0
    assert 15e-6 < per_kernel < 40e-6  # a framework's kernels, not a serving engine's
    eager = {device: timed(device, eta, per_kernel, per_launch, graphs=False) for device in PEAK}
    graph = {device: timed(device, eta, per_kernel, per_launch, graphs=True) for device in PEAK}
    assert floor("h100-sxm") / eager["h100-sxm"] == pytest.approx(SHARE_H100, abs=0.03)
    assert floor("l4") / eager["l4"] == pytest.approx(SHARE_L4, abs=0.03)
    assert eager["h100-sxm"] / graph["h100-sxm"] == pytest.approx(GRAPH_GAIN_H100, abs=0.03)
    # Not fitted. The model hides every launch behind a slower device, so it says 1.000.
    assert eager["l4"] / graph["l4"] == pytest.approx(1.028, abs=0.03)


def test_the_gain_of_graphs_dies_out_as_models_grow():
    eta, per_kernel, per_launch = fitted()
    device = replace(
        load_device("h100-sxm"),
        memory_efficiency=eta,
        kernel_seconds=per_kernel / 4,
        launch_seconds=per_launch,
    )
    gains = []
    for name in ("qwen2.5-0.5b", "qwen2.5-7b", "qwen2.5-72b"):
        model = AnalyticalModel(load_model(name), device, Parallelism(), PROFILE)
        eager = replace(model, limits=replace(model.engine_limits, graph_sizes=()))
        gains.append(eager.step_time(**STEP).seconds / model.step_time(**STEP).seconds)
    assert gains[0] > gains[1] > gains[2]
    assert gains[2] < 1.35
