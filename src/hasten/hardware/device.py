"""Accelerator data sheets: memory, bandwidth and peaks, with their sources, prices and efficiencies.

A device is one TOML file in `devices/`; its name is the file name. Peaks are data sheet figures for dense
arithmetic (no structured sparsity). What a kernel reaches of them is in the four efficiency fields, whose
origin each file states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hasten.errors import InputError
from hasten.hardware.datafile import Fields, closest, normalised, read_toml
from hasten.hardware.price import Price, load_prices, read_price

_DEVICES = Path(__file__).parent / "devices"

#: Dtypes from widest to narrowest. A device without a narrow type computes in the next wider one it has.
DTYPES = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8", "fp4")

#: Where an operand of a missing dtype is computed instead, best choice first.
_WIDER: Mapping[str, tuple[str, ...]] = {
    "fp4": ("fp8", "bf16", "fp16", "fp32"),
    "fp8": ("bf16", "fp16", "fp32"),
    "int8": ("bf16", "fp16", "fp32"),
    "bf16": ("fp16", "fp32"),
    "fp16": ("bf16", "fp32"),
    "tf32": ("fp32",),
    "fp32": (),
}

_SHARE = "a share of the data sheet figure, up to 1"
_SECONDS = "seconds, such as 2e-6"

#: Efficiencies of a device whose file gives none: round figures inside the range of the devices measured.
_DEFAULTS: Mapping[str, tuple[float, float, float, float]] = {
    # kind: (memory_efficiency, compute_efficiency, kernel_seconds, launch_seconds)
    "gpu": (0.80, 0.70, 3.0e-6, 5.0e-6),
    "cpu": (0.70, 0.60, 1.0e-6, 1.0e-6),
}


@dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator: memory in bytes, bandwidth in B/s, dense FLOP/s by dtype, times in seconds."""

    name: str
    memory_bytes: int  # what the driver hands to a program, where known (see memory_origin)
    memory_bandwidth: float  # B/s, data sheet
    flops: Mapping[str, float] = field(hash=False)  # dense FLOP/s by dtype, data sheet
    vendor: str = "unknown"
    kind: str = "gpu"  # gpu or cpu
    reported_name: str = ""  # as the driver prints it: engines choose defaults by it
    memory_origin: str = "data sheet"  # or: driver
    compute_capability: str | None = None
    sm_count: int | None = None
    link: str | None = None  # scale-up link between devices of one domain
    link_devices: int | None = None  # devices in one scale-up domain
    host_link: str = "pcie4-x16"
    network: str | None = None  # scale-out network, per device
    memory_efficiency: float = 0.80  # share of memory_bandwidth that a long read reaches
    compute_efficiency: float = 0.70  # share of the peak that a large matrix product reaches
    compute_by_dtype: Mapping[str, float] = field(default_factory=dict, hash=False)  # where it differs
    kernel_seconds: float = 3.0e-6  # fixed time per kernel inside a captured graph
    launch_seconds: float = 5.0e-6  # time per kernel launched eagerly
    efficiency_origin: str = "default of the device kind"
    price: Price | None = None
    aliases: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    unverified: tuple[str, ...] = ()  # keys whose value could not be checked against a primary source

    @property
    def memory_gib(self) -> float:
        """Memory in GiB."""
        return self.memory_bytes / 2**30

    @property
    def price_per_hour(self) -> float | None:
        """Dollars per hour of one device, or None when there is no price."""
        return self.price.dollars_per_hour if self.price else None

    def peak_flops(self, dtype: str) -> float:
        """Dense peak in FLOP/s for operands of `dtype`, from the next wider dtype when the device lacks it.

        Raises InputError for an unknown dtype, or when no wider one is known either.
        """
        if dtype not in _WIDER:
            raise InputError(f"dtype {dtype!r} is unknown: use one of {', '.join(DTYPES)}")
        for candidate in (dtype, *_WIDER[dtype]):
            if candidate in self.flops:
                return self.flops[candidate]
        raise InputError(f"device {self.name}: no FLOP/s for {dtype} or anything wider: add it to [flops]")

    def reached_flops(self, dtype: str) -> float:
        """FLOP/s that a large matrix product reaches: the peak times the efficiency measured for the dtype.

        A dtype the device lacks runs in a wider one, at that one's efficiency. Raises as `peak_flops` does.
        """
        peak = self.peak_flops(dtype)
        share = self.compute_by_dtype.get(dtype) if dtype in self.flops else None
        return peak * (self.compute_efficiency if share is None else share)

    def native(self, dtype: str) -> bool:
        """Whether the device computes in `dtype` itself rather than in a wider one."""
        return dtype in self.flops

    def with_price(self, dollars_per_hour: float) -> Device:
        """The same device at the user's own price in dollars per hour."""
        if not 0.0 <= dollars_per_hour < 1e6:
            raise InputError(
                f"price of {self.name}: {dollars_per_hour!r} $/h is outside 0 to 1e6: give dollars per hour"
            )
        price = Price(
            dollars_per_hour=dollars_per_hour, date="as given", kind="yours", source="given by the user"
        )
        return replace(self, price=price)


def device_names() -> list[str]:
    """Names of the built-in devices, sorted."""
    return sorted(path.stem for path in _DEVICES.glob("*.toml"))


def load_device(name_or_path: str | Path, *, prices: str | Path | None = None) -> Device:
    """A built-in device by name or alias, or one read from a user's TOML file.

    Case, spaces and punctuation in names don't matter (`H100_SXM`, `NVIDIA H100 80GB HBM3`). `prices` is
    a price file that replaces the built-in one, entry by entry. Raises InputError for an unknown name and for
    a malformed file.
    """
    book = load_prices(prices)
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml"):
        return _priced(_read(Path(text)), book)
    wanted = normalised(text)
    for name in device_names():
        if normalised(name) == wanted:
            return _priced(_read(_DEVICES / f"{name}.toml"), book)
    for name in device_names():
        device = _read(_DEVICES / f"{name}.toml")
        if wanted in {normalised(alias) for alias in (*device.aliases, device.reported_name)}:
            return _priced(device, book)
    hint = closest(text, device_names()) or f": known devices are {', '.join(device_names())}"
    raise InputError(f"device {text!r} is unknown{hint} (or give the path of a device file ending in .toml)")


def _priced(device: Device, book: Mapping[str, Price]) -> Device:
    price = book.get(device.name)
    return replace(device, price=price) if price and device.price is None else device


def _read(path: Path) -> Device:
    fields = Fields(read_toml(path), str(path))
    kind = fields.choice("kind", ("gpu", "cpu"), "gpu")
    memory_efficiency, compute_efficiency, kernel_seconds, launch_seconds = _DEFAULTS[kind]
    efficiency = fields.table("efficiency")
    sources = fields.table("sources")
    device = Device(
        name=fields.text("name", example=path.stem),
        kind=kind,
        vendor=fields.text("vendor", "unknown"),
        reported_name=fields.text("reported_name", fields.text("name")),
        aliases=fields.texts("aliases"),
        memory_bytes=fields.integer(
            "memory_bytes", low=1e9, high=1e14, wanted="bytes, such as 24e9", example="24e9"
        ),
        memory_origin=fields.choice("memory_origin", ("data sheet", "driver"), "data sheet"),
        memory_bandwidth=fields.number(
            "memory_bandwidth", low=1e9, high=1e15, wanted="bytes per second, such as 1e12", example="1e12"
        ),
        flops=_flops(fields),
        compute_capability=fields.optional_text("compute_capability"),
        sm_count=fields.optional_integer("sm_count", low=1, high=1e5),
        link=fields.optional_text("link"),
        link_devices=fields.optional_integer("link_devices", low=1, high=1e5, wanted="a count of devices"),
        host_link=fields.text("host_link", "pcie4-x16"),
        network=fields.optional_text("network"),
        memory_efficiency=efficiency.number("memory", memory_efficiency, low=0.05, high=1.0, wanted=_SHARE),
        compute_efficiency=efficiency.number(
            "compute", compute_efficiency, low=0.05, high=1.0, wanted=_SHARE
        ),
        compute_by_dtype=_compute_by_dtype(efficiency),
        kernel_seconds=efficiency.number(
            "kernel_seconds", kernel_seconds, low=0.0, high=1e-3, wanted=_SECONDS
        ),
        launch_seconds=efficiency.number(
            "launch_seconds", launch_seconds, low=0.0, high=1e-2, wanted=_SECONDS
        ),
        efficiency_origin=efficiency.text("origin", "default of the device kind"),
        price=read_price(fields.table("price")) if fields.holds("price") else None,
        sources={key: sources.text(key) for key in sources.given()},
        unverified=fields.texts("unverified"),
    )
    efficiency.finish()
    fields.finish()
    return device


def _compute_by_dtype(efficiency: Fields) -> dict[str, float]:
    table = efficiency.table("compute_by_dtype")
    shares = {
        dtype: table.number(dtype, low=0.05, high=1.0, wanted=_SHARE)
        for dtype in DTYPES
        if table.holds(dtype)
    }
    table.only(DTYPES)
    return shares


def _flops(fields: Fields) -> dict[str, float]:
    """Dense peaks by dtype."""
    table = fields.table("flops", required=True, example="[flops] and below it bf16 = 1e14")
    peaks = {
        dtype: table.number(dtype, low=1e9, high=1e18, wanted="dense FLOP per second, such as 3.1e14")
        for dtype in DTYPES
        if table.holds(dtype)
    }
    table.only(DTYPES)
    if not peaks:
        raise InputError(f"{table.where}: holds no dtype: add a line such as bf16 = 1e14")
    return peaks
