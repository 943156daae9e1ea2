"""Built-in accelerators: data sheet figures with sources, the efficiencies kernels reach, prices with their date."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from hasten.cli.options import catalogue
from hasten.cli.output import table, text
from hasten.hardware import Device, device_names, load_device

HELP = "built-in accelerators: memory, bandwidth, peaks, prices"
EXAMPLE = "hasten devices show h100-sxm"


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    catalogue.add_show(parser, "device", "h100-sxm or ./my-device.toml")
    parser.add_argument(
        "--prices",
        metavar="FILE",
        help="price file (.toml) that replaces the built-in prices, entry by entry",
    )


def run(args: Namespace) -> int:
    """Print the list or one device."""
    name = catalogue.shown(args)
    devices = [load_device(each, prices=args.prices) for each in (device_names() if name is None else [name])]
    if args.json:
        found = [figures(device) for device in devices]
        text.show_json(found if name is None else found[0])
    else:
        text.show(listed(devices) if name is None else _described(devices[0]))
    return 0


def figures(device: Device) -> dict[str, Any]:
    """What is known of a device, under keys with units."""
    price = device.price
    return {
        "name": device.name,
        "vendor": device.vendor,
        "kind": device.kind,
        "aliases": list(device.aliases),
        "memory_gib": device.memory_gib,
        "memory_origin": device.memory_origin,
        "memory_bandwidth_gb_per_s": device.memory_bandwidth / 1e9,
        "peak_tflop_per_s": {dtype: peak / 1e12 for dtype, peak in device.flops.items()},
        "compute_capability": device.compute_capability,
        "link": device.link,
        "link_devices": device.link_devices,
        "host_link": device.host_link,
        "network": device.network,
        "memory_efficiency": device.memory_efficiency,
        "compute_efficiency": device.compute_efficiency,
        "compute_efficiency_by_dtype": dict(device.compute_by_dtype),
        "kernel_us": device.kernel_seconds * 1e6,
        "launch_us": device.launch_seconds * 1e6,
        "efficiency_origin": device.efficiency_origin,
        "price_usd_per_hour": device.price_per_hour,
        "price_date": price.date if price else None,
        "price_kind": price.kind if price else None,
        "price_source": price.source if price else None,
        "unverified": list(device.unverified),
        "sources": dict(device.sources),
    }


def listed(devices: list[Device]) -> str:
    """One line per device."""
    header = ("device", "GiB", "GB/s", "bf16 TFLOP/s", "fp8 TFLOP/s", "link", "$/h", "price date")
    rows = [
        (
            device.name,
            table.number(device.memory_gib, 1),
            table.number(device.memory_bandwidth / 1e9, 0),
            _teraflops(device, "bf16", "fp16", "fp32"),
            _teraflops(device, "fp8"),
            device.link or device.host_link,
            table.number(device.price_per_hour),
            device.price.date if device.price else table.MISSING,
        )
        for device in devices
    ]
    return table.table(header, rows, right=(1, 2, 3, 4, 6))


def _teraflops(device: Device, *dtypes: str) -> str:
    found = next((device.flops[dtype] for dtype in dtypes if dtype in device.flops), None)
    return table.significant(None if found is None else found / 1e12)


def _described(device: Device) -> str:
    price = device.price
    peaks = ", ".join(f"{dtype} {table.significant(peak / 1e12, 4)}" for dtype, peak in device.flops.items())
    shares = "".join(f", {share:g} in {dtype}" for dtype, share in device.compute_by_dtype.items())
    joined = f", joins {device.link_devices} devices" if device.link_devices else ""
    pairs = [
        ("device", f"{device.name} ({device.vendor})"),
        ("also known as", ", ".join(device.aliases)),
        ("memory", f"{device.memory_gib:,.2f} GiB ({device.memory_origin})"),
        (
            "bandwidth",
            f"{device.memory_bandwidth / 1e9:,.0f} GB/s; a long read reaches {device.memory_efficiency:g} of it",
        ),
        (
            "peaks (dense)",
            f"{peaks} TFLOP/s; a large product reaches {device.compute_efficiency:g} of it{shares}",
        ),
        (
            "per kernel",
            f"{device.kernel_seconds * 1e6:g} us inside a graph, {device.launch_seconds * 1e6:g} us launched alone",
        ),
        ("efficiencies from", device.efficiency_origin),
        (
            "links",
            f"{device.link or device.host_link}{joined}; host {device.host_link}; network {device.network or 'none'}",
        ),
        (
            "price",
            f"{price.dollars_per_hour:,.2f} $/h, {price.kind}, {price.date}"
            if price
            else "none: give --prices",
        ),
        ("price from", price.source if price else ""),
        *((f"source of {key}", source) for key, source in device.sources.items()),
        ("not verified", ", ".join(device.unverified)),
    ]
    return table.facts(pairs)
