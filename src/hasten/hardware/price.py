"""Prices per device and hour, as editable data with a date and a source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hasten.errors import InputError
from hasten.hardware.datafile import Fields, read_toml

_PRICES = Path(__file__).parent / "prices.toml"
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?")


@dataclass(frozen=True, kw_only=True)
class Price:
    """Dollars per hour for one device, when it was true, what kind of price it is, and who says so."""

    dollars_per_hour: float
    date: str  # YYYY-MM or YYYY-MM-DD
    kind: str = "on-demand"
    source: str = "not stated"


def load_prices(path: str | Path | None = None) -> dict[str, Price]:
    """The built-in prices by device name; a user's file of the same form replaces them entry by entry.

    Raises InputError for a malformed file.
    """
    prices = _read(_PRICES)
    if path is not None:
        prices.update(_read(Path(path)))
    return prices


def read_price(fields: Fields) -> Price:
    """A price from one table of a price file, or from the [price] table of a device file."""
    price = Price(
        dollars_per_hour=fields.number(
            "dollars_per_hour", low=0.0, high=1e6, wanted="dollars per hour for one device", example=2.5
        ),
        date=fields.text("date", example="2026-01"),
        kind=fields.text("kind", "on-demand"),
        source=fields.text("source", "not stated"),
    )
    if not _DATE.fullmatch(price.date):
        raise InputError(
            f'{fields.where}: date = {price.date!r} is not YYYY-MM or YYYY-MM-DD, such as "2026-01"'
        )
    fields.finish()
    return price


def _read(path: Path) -> dict[str, Price]:
    table = Fields(read_toml(path), str(path))
    prices = {name: read_price(table.table(name)) for name in table.given()}
    table.finish()
    return prices
