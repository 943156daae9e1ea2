"""Devices, links and prices: data sheet figures with their sources, one small file each."""

from hasten.hardware.device import DTYPES, Device, device_names, load_device
from hasten.hardware.link import Link, link_names, load_link
from hasten.hardware.price import Price, load_prices

__all__ = [
    "DTYPES",
    "Device",
    "Link",
    "Price",
    "device_names",
    "link_names",
    "load_device",
    "load_link",
    "load_prices",
]
