"""Data sheets: laws that every device, link and price obeys, and figures that are easy to get wrong."""

import pickle

import pytest

from hasten.errors import InputError
from hasten.hardware import (
    DTYPES,
    Device,
    device_names,
    link_names,
    load_device,
    load_link,
    load_prices,
)

DEVICES = {name: load_device(name) for name in device_names()}
GPUS = sorted(name for name, device in DEVICES.items() if device.kind == "gpu")

ASKED_FOR = [
    "a100-sxm-40g",
    "a100-sxm-80g",
    "a100-pcie-40g",
    "a100-pcie-80g",
    "h100-sxm",
    "h100-pcie",
    "h200-sxm",
    "b200-sxm",
    "gb200",
    "l4",
    "l40s",
    "a10",
    "t4",
    "rtx-4090",
    "rtx-pro-6000",
    "mi300x",
    "mi325x",
    "cpu-2core",
    "a40",
    "a6000",
    "rtx-3090",
]
LINKS_ASKED_FOR = [
    "nvlink3",
    "nvlink4",
    "nvlink5",
    "pcie3-x16",
    "pcie4-x16",
    "pcie5-x16",
    "infinity-fabric",
    "infiniband-hdr",
    "infiniband-ndr",
    "roce-100",
    "roce-200",
    "roce-400",
    "ethernet-10",
    "ethernet-25",
    "ethernet-100",
]


def test_every_device_and_link_is_there() -> None:
    assert sorted(ASKED_FOR) == device_names()
    assert sorted(LINKS_ASKED_FOR) == link_names()


@pytest.mark.parametrize("name", device_names())
def test_a_device_obeys_the_laws_of_its_kind(name: str) -> None:
    device = DEVICES[name]
    assert device.name == name
    assert device.memory_bandwidth > 0
    assert all(peak > 0 for peak in device.flops.values())
    assert set(device.flops) <= set(DTYPES)
    # Halving the operand never slows arithmetic down, fallbacks included.
    for wide, narrow in (
        ("fp32", "bf16"),
        ("fp32", "fp16"),
        ("bf16", "fp8"),
        ("bf16", "int8"),
        ("fp8", "fp4"),
    ):
        assert device.peak_flops(wide) <= device.peak_flops(narrow), (wide, narrow)
    for dtype in DTYPES:
        assert 0 < device.reached_flops(dtype) <= device.peak_flops(dtype)
    assert 0 < device.memory_efficiency <= 1
    assert 0 <= device.kernel_seconds <= device.launch_seconds < 1e-4
    # A forward pass reads memory, so no device sees all of it in under a millisecond or over a minute.
    assert 1e-3 < device.memory_bytes / device.memory_bandwidth < 60


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_has_the_memory_its_data_sheet_rounds(name: str) -> None:
    sheet = {
        "40g": 40, "80g": 80, "h100": 80, "h200": 141, "b200": 180, "gb200": 186, "l4": 24, "l40s": 48, "a10": 24,
        "t4": 16, "rtx-4090": 24, "rtx-3090": 24, "rtx-pro-6000": 96, "mi300x": 192, "mi325x": 256, "a40": 48,
        "a6000": 48,
    }  # fmt: skip
    gigabytes = sheet[next(part for part in sorted(sheet, key=len, reverse=True) if part in name)]
    assert 0.91 * gigabytes < DEVICES[name].memory_gib <= 1.0 * gigabytes
    assert DEVICES[name].memory_origin == "driver"


@pytest.mark.parametrize("name", device_names())
def test_what_a_device_refers_to_exists(name: str) -> None:
    device = DEVICES[name]
    for link in (device.link, device.host_link, device.network):
        assert link is None or load_link(link).name == link
    assert (device.link_devices or 1) >= 1
    assert device.sources
    assert all(device.sources.values())
    assert device.efficiency_origin


@pytest.mark.parametrize("name", link_names())
def test_a_link_obeys_the_laws_of_messages(name: str) -> None:
    link = load_link(name)
    assert link.bandwidth > 0
    assert link.latency > 0
    assert link.transfer_seconds(0) == link.latency
    assert link.transfer_seconds(2e9) - link.transfer_seconds(1e9) == pytest.approx(
        1e9 / link.reached_bandwidth
    )
    assert link.reached_bandwidth <= link.bandwidth
    assert link.source != "not stated"


def test_links_are_ordered_by_generation() -> None:
    def speeds(*names: str) -> list[float]:
        return [load_link(name).bandwidth for name in names]

    for family in (
        ("nvlink3", "nvlink4", "nvlink5"),
        ("pcie3-x16", "pcie4-x16", "pcie5-x16", "nvlink3"),
        ("infiniband-hdr", "infiniband-ndr"),
        ("ethernet-10", "ethernet-25", "ethernet-100"),
    ):
        assert speeds(*family) == sorted(speeds(*family))
    assert speeds("roce-400") == speeds("infiniband-ndr")


def test_every_price_has_a_date_a_kind_and_a_source_and_every_device_a_price() -> None:
    prices = load_prices()
    assert set(prices) == set(device_names())
    for name, price in prices.items():
        assert 0 < price.dollars_per_hour < 100, name
        assert price.date[:2] == "20"
        assert price.kind != "on-demand"
        assert price.source != "not stated"
        assert DEVICES[name].price == price


def test_a_price_of_the_user_replaces_the_built_in_one(tmp_path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('[h100-sxm]\ndollars_per_hour = 2.1\ndate = "2026-11"\nkind = "reserved, one year"\n')
    assert load_device("h100-sxm", prices=own).price_per_hour == 2.1
    assert load_device("l4", prices=own).price_per_hour == DEVICES["l4"].price_per_hour
    assert load_device("h100-sxm").with_price(1.5).price_per_hour == 1.5
    with pytest.raises(InputError, match="dollars per hour"):
        DEVICES["l4"].with_price(-1)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("H100-SXM", "h100-sxm"),
        ("h100_sxm", "h100-sxm"),
        ("h100", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("h100_pcie", "h100-pcie"),
        ("h200_sxm", "h200-sxm"),
        ("b200_sxm", "b200-sxm"),
        ("gb200", "gb200"),
        ("a100_sxm", "a100-sxm-80g"),
        ("a100_pcie", "a100-pcie-80g"),
        ("a100-80g", "a100-sxm-80g"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm-40g"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80g"),
        ("l40s", "l40s"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("rtx_pro_6000_server", "rtx-pro-6000"),
        ("AMD Instinct MI300X", "mi300x"),
    ],
)
def test_other_spellings_find_the_device(spelling: str, name: str) -> None:
    assert load_device(spelling).name == name


def test_no_two_devices_share_a_name() -> None:
    def key(text: str) -> str:
        return "".join(letter for letter in text.lower() if letter.isalnum())

    seen: dict[str, str] = {}
    for device in DEVICES.values():
        for spelling in {key(text) for text in (device.name, device.reported_name, *device.aliases)}:
            assert seen.setdefault(spelling, device.name) == device.name, spelling


def test_a_missing_dtype_runs_in_the_next_wider_one() -> None:
    assert DEVICES["t4"].peak_flops("bf16") == DEVICES["t4"].peak_flops("fp16") == 65e12
    assert DEVICES["a100-sxm-80g"].peak_flops("fp8") == 312e12
    assert DEVICES["h100-sxm"].peak_flops("fp4") == DEVICES["h100-sxm"].peak_flops("fp8")
    assert DEVICES["cpu-2core"].peak_flops("bf16") == DEVICES["cpu-2core"].peak_flops("fp32")
    assert not DEVICES["a100-sxm-80g"].native("fp8")
    with pytest.raises(InputError, match="fp7"):
        DEVICES["l4"].peak_flops("fp7")
    with pytest.raises(InputError, match=r"wider.*\[flops\]"):
        Device(name="x", memory_bytes=10**9, memory_bandwidth=1e11, flops={"int8": 1e12}).peak_flops("bf16")


def test_the_measured_share_of_a_dtype_holds_for_that_dtype_only() -> None:
    h100 = DEVICES["h100-sxm"]
    assert h100.reached_flops("fp8") == pytest.approx(0.45 * 1978.9e12)
    assert h100.reached_flops("fp4") == pytest.approx(h100.compute_efficiency * 1978.9e12)
    assert h100.reached_flops("bf16") == pytest.approx(0.79 * 989.4e12)


def test_a_device_travels_between_processes_and_serves_as_a_key() -> None:
    device = DEVICES["h100-sxm"]
    assert pickle.loads(pickle.dumps(device)) == device
    assert {device: 1}[load_device("h100-sxm")] == 1
