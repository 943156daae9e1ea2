"""Malformed device, link and price files: one line each, naming the file and the key."""

from pathlib import Path

import pytest

from hasten.errors import InputError
from hasten.hardware import load_device, load_link, load_prices

GOOD = """
name = "mine"
memory_bytes = 24e9
memory_bandwidth = 1e12

[flops]
bf16 = 1e14
"""

BAD_DEVICES = {
    "no name": (GOOD.replace('name = "mine"', ""), "'name' is missing"),
    "no memory": (GOOD.replace("memory_bytes = 24e9", ""), "'memory_bytes' is missing"),
    "no bandwidth": (GOOD.replace("memory_bandwidth = 1e12", ""), "'memory_bandwidth' is missing"),
    "no flops": (GOOD.split("[flops]")[0], r"table \[flops\] is missing"),
    "empty flops": (GOOD.replace("bf16 = 1e14", ""), "holds no dtype"),
    "gigabytes": (GOOD.replace("24e9", "24"), "memory_bytes = 24 is outside"),
    "gigabytes per second": (GOOD.replace("1e12", "1008"), "memory_bandwidth = 1008 is outside"),
    "teraflops": (GOOD.replace("1e14", "100"), r"\[flops\]: bf16 = 100 is outside"),
    "negative": (GOOD.replace("24e9", "-24e9"), "memory_bytes"),
    "text for a number": (GOOD.replace("24e9", '"24 GB"'), "memory_bytes = '24 GB' is not"),
    "number for text": (GOOD.replace('"mine"', "3"), "name = 3 is not text"),
    "true for a number": (GOOD.replace("24e9", "true"), "memory_bytes = True is not"),
    "nan": (GOOD.replace("1e12", "nan"), "memory_bandwidth = nan is not"),
    "half a byte": (GOOD.replace("24e9", "24e9\nsm_count = 1.5"), "sm_count = 1.5 is not"),
    "unknown key": (
        GOOD.replace("[flops]", "memory_bandwith = 1\n[flops]"),
        "'memory_bandwith' is unknown.*did you",
    ),
    "unknown dtype": (GOOD + "bf15 = 1e14\n", "'bf15' is unknown"),
    "unknown table": (GOOD + "[effciency]\nmemory = 0.8\n", "'effciency' is unknown.*'efficiency'"),
    "efficiency in percent": (
        GOOD + "[efficiency]\nmemory = 80\n",
        r"\[efficiency\]: memory = 80 is outside",
    ),
    "unknown kind": (GOOD.replace("[flops]", 'kind = "tpu"\n[flops]'), "kind = 'tpu' is not one of"),
    "flops not a table": (
        'name = "x"\nmemory_bytes = 1e10\nmemory_bandwidth = 1e11\nflops = 3\n',
        "flops = 3 is not a",
    ),
    "price without a date": (GOOD + "[price]\ndollars_per_hour = 2\n", r"\[price\]: key 'date' is missing"),
    "not toml": ("name = mine\n", "not valid TOML.*line 1"),
    "aliases not a list": (GOOD.replace("[flops]", 'aliases = "x"\n[flops]'), "aliases = 'x' is not a list"),
}


@pytest.mark.parametrize("case", BAD_DEVICES)
def test_a_bad_device_file_is_one_line_naming_file_and_key(case: str, tmp_path: Path) -> None:
    text, expected = BAD_DEVICES[case]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        load_device(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[h100-sxm]\ndate = "2026-01"\n', "h100-sxm.*'dollars_per_hour' is missing"),
        ('[h100-sxm]\ndollars_per_hour = -1\ndate = "2026-01"\n', "outside 0"),
        ('[h100-sxm]\ndollars_per_hour = 2\ndate = "last week"\n', "date = 'last week' is not YYYY-MM"),
        ('[h100-sxm]\ndollars_per_hour = 2\ndate = "2026-13"\n', "date"),
        ('[h100-sxm]\nprice = 2\ndollars_per_hour = 2\ndate = "2026-01"\n', "'price' is unknown"),
        ("h100-sxm = 2\n", "not a table"),
    ],
)
def test_a_bad_price_file_is_one_line_naming_file_and_device(
    text: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        load_prices(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_unreadable_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.toml: no such file"):
        load_device(tmp_path / "gone.toml")
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(InputError, match="can't be read"):
        load_device(folder)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(InputError, match="byte 8 is not UTF-8"):
        load_link(binary)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="'h1000' is unknown: did you mean 'h100-sxm'"):
        load_device("h1000")
    with pytest.raises(InputError, match="known devices are a10, "):
        load_device("zzzzzz")
    with pytest.raises(InputError, match="'nvlink9' is unknown: did you mean"):
        load_link("nvlink9")
