"""Write the tables of docs/design/step-time.md: predictions against data sheets and published measurements.

    scripts/step_time_table.py                        data sheet and launch tables
    scripts/step_time_table.py --measured FILE.csv    the error table too
    scripts/step_time_table.py --check                exit 1 when the page is not up to date

FILE.csv is silicon_sample.csv of end-to-end serving points (InferenceX, collected in aiconfigurator-core 0.12.0,
Apache-2.0): one deployment at one closed-loop concurrency per row, with its mean time per output token.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from make_points import MODELS
from pages import filled, table

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.hardware import device_names
from hasten.latency import AnalyticalModel
from hasten.latency.work import Work
from hasten.models import ModelShape, Quantisation, load_model

PAGE = Path(__file__).resolve().parent.parent / "docs" / "design" / "step-time.md"
ACCURACY = Path(__file__).resolve().parent.parent / "docs" / "accuracy.md"

#: How weights and activations were stored; a model that comes quantised otherwise (gpt-oss) stays as it is.
MEASURED_STORAGE = {
    "fp8": Quantisation("fp8", 8, activation_bits=8),
    "fp4": Quantisation("nvfp4", 4, activation_bits=4, group_size=16, scale_bits=8),
}

#: Published: share of the memory floor reached, and gain of graphs (see tests/latency/test_launch_overhead.py).
LAUNCH_PEAKS = {"h100-sxm": 3.35e12, "l4": 300e9}
LAUNCH_PUBLISHED = {"h100-sxm": (0.27, 1.259), "l4": (0.81, 1.028)}
LAUNCH_STEP = {"decodes": 1, "decode_context": 2047}


def datasheet_table() -> str:
    """Batch-1 decode and a lone prefill of Llama 3.1 8B (bf16) on every device, against the data sheet."""
    rows = []
    for name in device_names():
        model = Deployment.of("llama-3.1-8b", name, max_model_len=8192, step_times="analytical").latency
        device = model.device
        step = {"decodes": 1, "decode_context": 2047}
        read = sum(kernel.weight_bytes + kernel.kv_bytes for kernel in model.work(**step).kernels)
        floor = read / device.memory_bandwidth
        decode = model.step_time(**step).seconds
        chunk = [(2048, 0)]
        flops = model.work(chunk).flops
        peak = flops / device.peak_flops("bf16")
        prefill = model.step_time(chunk).seconds
        rows.append(
            [
                name,
                f"{floor * 1e3:.2f}",
                f"{decode * 1e3:.2f}",
                f"{floor / decode:.0%}",
                f"{peak * 1e3:.1f}",
                f"{prefill * 1e3:.1f}",
                f"{peak / prefill:.0%}",
            ]
        )
    head = ["device", "bytes / bandwidth, ms", "decode, ms", "of bandwidth"]
    return table([*head, "FLOPs / peak, ms", "prefill, ms", "of peak"], rows)


def launch_model(
    device: str, eta: float, per_kernel: float, per_launch: float, *, graphs: bool
) -> AnalyticalModel:
    """Qwen2.5 7B on a device with the given constants, with or without captured graphs."""
    model = Deployment.of("qwen2.5-7b", device, max_model_len=4096).latency
    changed = replace(
        model.device,
        memory_bandwidth=LAUNCH_PEAKS[device],
        memory_efficiency=eta,
        kernel_seconds=per_kernel,
        launch_seconds=per_launch,
    )
    limits = model.engine_limits if graphs else replace(model.engine_limits, graph_sizes=())
    return replace(model, device=changed, limits=limits)


def launch_seconds(device: str, eta: float, per_kernel: float, per_launch: float, *, graphs: bool) -> float:
    """Seconds of the published decode step under the given constants."""
    return launch_model(device, eta, per_kernel, per_launch, graphs=graphs).step_time(**LAUNCH_STEP).seconds


def in_order(device: str, eta: float, per_kernel: float, per_launch: float) -> float:
    """Seconds of the step when each kernel starts once it was launched and the one before it has ended."""
    model = launch_model(device, eta, per_kernel, per_launch, graphs=False)
    work = model.work(**LAUNCH_STEP)
    layers = model.model.num_layers
    once, every = (
        [each for each in work.kernels if (each.launches >= layers) == is_layer] for is_layer in (0, 1)
    )
    queue = once[:1] + [each for _ in range(layers) for each in every for _ in range(each.launches // layers)]
    issued = ended = 0.0
    for kernel in [*queue, *once[1:]]:
        issued += per_launch
        alone = model.device_time(Work(kernels=(kernel,))).seconds / max(kernel.launches, 1)
        ended = max(issued, ended) + alone
    return ended


def launch_table() -> str:
    """Three constants fitted to three of the four published figures of launch overhead, and the fourth."""
    floors = {}
    for device in LAUNCH_PEAKS:
        kernels = launch_model(device, 1.0, 0.0, 0.0, graphs=True).work(**LAUNCH_STEP).kernels
        floors[device] = sum(each.weight_bytes + each.kv_bytes for each in kernels) / LAUNCH_PEAKS[device]
    share, gain = LAUNCH_PUBLISHED["h100-sxm"]
    eager = floors["h100-sxm"] / share
    captured, slow = eager / gain, floors["l4"] / LAUNCH_PUBLISHED["l4"][0]
    traffic = {device: launch_seconds(device, 1.0, 0.0, 0.0, graphs=True) for device in LAUNCH_PEAKS}
    eta = (traffic["l4"] - traffic["h100-sxm"]) / (slow - captured)
    kernels_fixed = launch_seconds("h100-sxm", 1.0, 1.0, 0.0, graphs=True) - traffic["h100-sxm"]
    per_kernel = (captured - traffic["h100-sxm"] / eta) / kernels_fixed
    per_launch = eager / launch_model("h100-sxm", 1.0, 0.0, 0.0, graphs=True).work(**LAUNCH_STEP).launches
    rows = []
    for device, (share, gain) in LAUNCH_PUBLISHED.items():
        without, with_graphs = (
            launch_seconds(device, eta, per_kernel, per_launch, graphs=graphs) for graphs in (False, True)
        )
        rows.append([device, f"{share:.0%}", f"{floors[device] / without:.0%}", f"{gain:.3f}x"])
        rows[-1].append(f"{without / with_graphs:.3f}x")
    text = table(["device", "of the floor, published", "model", "gain of graphs, published", "model"], rows)
    queued = in_order("l4", eta, per_kernel, per_launch) / launch_seconds(
        "l4", eta, per_kernel, per_launch, graphs=True
    )
    fitted = f"eta {eta:.2f}, {per_kernel * 1e6:.1f} us per kernel, {per_launch * 1e6:.1f} us per launch"
    return f"{text}\n\nFitted: {fitted}. With launches that queue one by one the L4 gains {queued:.3f}x."


def measured_shape(name: str, precision: str) -> ModelShape:
    """The shape of a measured model as it was stored; without a stated precision in its own type."""
    model = load_model(MODELS[name])
    stored = MEASURED_STORAGE.get(precision)
    own = model.quantisation
    if stored is None or (own is not None and own.method in ("mxfp4", stored.method)):
        return model
    return replace(model, quantisation=stored)


def usable(path: Path) -> Iterator[tuple[dict[str, str], ModelShape, int]]:
    """Rows of one engine without pipelines or data-parallel attention, with the model's shape and split."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name, tp = row["model_path"], int(float(row["tp_size"] or 0))
            if row["mode"] != "agg" or name not in MODELS or not 1 <= tp <= 8:
                continue
            if float(row["attention_dp_size"] or 1) > 1 or float(row["pp_size"] or 1) > 1:
                continue
            yield row, measured_shape(name, row["precision"]), tp


def measured_points(path: Path) -> Iterator[tuple[tuple[str, str], float]]:
    """((engine, kind of model), predicted / measured - 1) of every point that the estimate applies to."""
    for row, shape, tp in usable(path):
        error = point_error(row, shape, tp)
        if error is not None:
            yield (row["backend"], "experts" if shape.is_mixture else "dense"), error


def point_error(
    row: dict[str, str], shape: ModelShape, tp: int, step_times: str = "analytical"
) -> float | None:
    """Relative error of the time per output token; None where the closed-loop estimate doesn't apply.

    With c sequences in flight, each prefilled once per osl steps, a step lasts on average as long as one that
    decodes c sequences, plus c / osl times what a prefill adds to it. That fails where sequences wait: for memory
    (their KV does not fit) or for each other's prefills (these take more than half of the time).
    """
    concurrency = int(float(row["silicon_concurrency"] or row["batch_size"]))
    isl, osl = int(row["isl"]), int(row["osl"])
    ep = tp if tp > 1 and shape.is_mixture and float(row["moe_ep_size"] or 1) == tp else 1
    try:
        device = row["system"].replace("_", "-")
        deployment = Deployment.of(shape, device, tp=tp, ep=ep, engine=row["backend"], step_times=step_times)
        room = deployment.kv.tokens
    except InputError:
        return None
    context = concurrency * (isl + osl // 2)
    if context > room or concurrency >= deployment.limits.max_num_seqs:
        return None
    model = deployment.latency
    decode = model.step_time((), concurrency, context).seconds
    prefill = model.step_time([(isl, 0)], concurrency, context).seconds - decode
    step = decode + concurrency / osl * prefill
    if step > 2 * decode:
        return None
    return step / (float(row["silicon_tpot_ms"]) / 1e3) - 1


def operators_table(path: Path) -> str:
    """Mean errors without sign of vLLM's points: steps put together from operator tables, and data sheets."""
    errors: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row, shape, tp in usable(path):
        if row["backend"] != "vllm":
            continue
        both = [point_error(row, shape, tp, kind) for kind in ("table", "analytical")]
        if None not in both:
            kind = "experts" if shape.is_mixture else "dense"
            key = kind, row["system"].replace("_", "-"), row["precision"] or "bf16"
            for name in (key, (kind, "all", "")):
                errors[name].append((abs(both[0] or 0.0), abs(both[1] or 0.0)))
    rows = []
    for key, found in sorted(errors.items()):
        means = [f"{statistics.fmean(each):.1%}" for each in zip(*found, strict=True)]
        rows.append([*key, str(len(found)), *means])
    return table(["models", "device", "type", "points", "operator tables", "data sheets"], rows)


def error_table(path: Path) -> str:
    """Errors of the predicted time per output token by engine and kind of model."""
    errors = defaultdict(list)
    for key, error in measured_points(path):
        errors[key].append(error)
        errors["all", ""].append(error)
    rows = []
    for (engine, kind), found in sorted(errors.items(), key=lambda item: (item[0][0] == "all", item[0])):
        tenths = statistics.quantiles(found, n=10)
        within = [sum(abs(error) <= bound for error in found) / len(found) for bound in (0.25, 0.35)]
        rows.append(
            [
                f"{engine} {kind}".strip(),
                str(len(found)),
                f"{statistics.median(found):+.0%}",
                f"{tenths[0]:+.0%} to {tenths[-1]:+.0%}",
                *(f"{share:.0%}" for share in within),
            ]
        )
    head = ["engine, model", "points", "median error", "middle 80 %", "within 25 %", "within 35 %"]
    return table(head, rows)


def main() -> int:
    """Rewrite the page, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measured", type=Path, metavar="FILE.csv", help="also redo the error table")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when out of date")
    options = parser.parse_args()
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old, "data sheet table", datasheet_table())
    new = filled(new, "launch table", launch_table())
    if options.measured:
        new = filled(new, "error table", error_table(options.measured))
        ours = ACCURACY.read_text(encoding="utf-8")
        ours = filled(ours, "operator step table", operators_table(options.measured))
        if not options.check:
            ACCURACY.write_text(ours, encoding="utf-8")
    if options.check:
        print("up to date" if new == old else f"{PAGE.name} is out of date: run scripts/step_time_table.py")
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    print(f"{PAGE.name}: {'changed' if new != old else 'unchanged'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
