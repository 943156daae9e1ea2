"""A user adds a device with one small file: four keys, everything else defaulted."""

from pathlib import Path

import pytest

from hasten.hardware import load_device, load_link

SMALL = """
name = "widget-1"
memory_bytes = 32e9
memory_bandwidth = 1.2e12

[flops]
bf16 = 150e12
"""


def test_four_keys_make_a_device(tmp_path: Path) -> None:
    path = tmp_path / "widget.toml"
    path.write_text(SMALL)
    device = load_device(path)
    assert device == load_device(str(path))
    assert (device.name, device.memory_bytes, device.peak_flops("bf16")) == (
        "widget-1",
        32_000_000_000,
        150e12,
    )
    assert device.peak_flops("fp8") == 150e12
    assert device.reported_name == "widget-1"
    assert device.efficiency_origin == "default of the device kind"
    assert device.price_per_hour is None
    assert load_link(device.host_link).bandwidth > 0


def test_a_file_may_state_all_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "widget.toml"
    path.write_text(
        SMALL.replace("[flops]", 'vendor = "acme"\nlink = "nvlink4"\nlink_devices = 4\n[flops]')
        + '[efficiency]\nmemory = 0.9\n[price]\ndollars_per_hour = 1.25\ndate = "2026-11-01"\nkind = "own cost"\n'
    )
    device = load_device(path)
    assert (device.link, device.link_devices, device.memory_efficiency) == ("nvlink4", 4, 0.9)
    assert device.price_per_hour == 1.25
    assert device.price is not None
    assert device.price.kind == "own cost"


def test_a_cpu_has_its_own_defaults(tmp_path: Path) -> None:
    path = tmp_path / "box.toml"
    path.write_text(SMALL.replace("[flops]", 'kind = "cpu"\n[flops]'))
    gpu = tmp_path / "widget.toml"
    gpu.write_text(SMALL)
    assert load_device(path).kernel_seconds < load_device(gpu).kernel_seconds


def test_a_link_is_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "wire.toml"
    path.write_text('name = "wire"\nbandwidth = 1e9\nlatency = 1e-3\nefficiency = 0.5\n')
    assert load_link(path).transfer_seconds(1e9) == pytest.approx(2.001)
