"""Interconnect data sheets: bandwidth per device and direction, and the latency of one message."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hasten.errors import InputError
from hasten.hardware.datafile import Fields, closest, normalised, read_toml

_LINKS = Path(__file__).parent / "links"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link as one device sees it: `bandwidth` in B/s per direction, `latency` in s for a small message."""

    name: str
    bandwidth: float
    latency: float
    efficiency: float = 0.9  # share of the bandwidth that a large collective reaches
    copy_efficiency: float | None = None  # of a large copy from pinned host memory; None: as efficiency
    source: str = ""
    unverified: tuple[str, ...] = ()  # keys whose value is an estimate rather than a published figure

    @property
    def reached_bandwidth(self) -> float:
        """B/s, one direction, that large collectives reach."""
        return self.efficiency * self.bandwidth

    @property
    def copy_bandwidth(self) -> float:
        """B/s, one direction, of large copies between pinned host memory and a device."""
        share = self.efficiency if self.copy_efficiency is None else self.copy_efficiency
        return share * self.bandwidth

    def transfer_seconds(self, size: float) -> float:
        """Seconds to move `size` bytes one way: latency + size / reached bandwidth."""
        return self.latency + size / self.reached_bandwidth


def link_names() -> list[str]:
    """Names of the built-in links, sorted."""
    return sorted(path.stem for path in _LINKS.glob("*.toml"))


def load_link(name_or_path: str | Path) -> Link:
    """A built-in link by name (case and punctuation don't matter), or one read from a TOML file.

    Raises InputError for an unknown name and for a malformed file.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml"):
        return _read(Path(text))
    for name in link_names():
        if normalised(name) == normalised(text):
            return _read(_LINKS / f"{name}.toml")
    hint = closest(text, link_names()) or f": known links are {', '.join(link_names())}"
    raise InputError(f"link {text!r} is unknown{hint}")


def _read(path: Path) -> Link:
    fields = Fields(read_toml(path), str(path))
    efficiency = fields.number("efficiency", 0.9, low=0.05, high=1.0, wanted="a share, up to 1")
    link = Link(
        name=fields.text("name", example=path.stem),
        bandwidth=fields.number(
            "bandwidth", low=1e7, high=1e14, wanted="bytes per second, one direction", example="64e9"
        ),
        latency=fields.number("latency", low=0.0, high=1.0, wanted="seconds per message", example="10e-6"),
        efficiency=efficiency,
        copy_efficiency=fields.number(
            "copy_efficiency", efficiency, low=0.05, high=1.0, wanted="a share, up to 1"
        ),
        source=fields.text("source", "not stated"),
        unverified=fields.texts("unverified"),
    )
    fields.finish()
    return link
