"""Lines of /metrics pages: what the formats allow is read as they say, and what they do not is refused by line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.report.exposition import looks_like_page, pages, samples, time_of


def read(text):
    return list(samples(enumerate(text.splitlines(), 1), "page"))


NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True),
    st.text(st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\n"), max_size=8),
    max_size=3,
)


def escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@given(NAMES, LABELS, st.floats(), st.none() | st.integers(10**12, 10**13), st.booleans(), st.booleans())
def test_what_is_written_by_the_format_is_read_back(name, labels, value, stamp, has_comma, has_exemplar):
    listed = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    line = name + (f"{{{listed}{',' if has_comma and listed else ''}}}" if listed or has_comma else "")
    line += f" {value!r}" + ("" if stamp is None else f" {stamp}")
    line += ' # {trace_id="a}b"} 0.67 1520879607.789' if has_exemplar else ""
    (found,) = samples([(7, line)], "page")
    assert (found.line, found.name, dict(found.labels)) == (7, name, labels)
    assert found.value == value or (math.isnan(value) and math.isnan(found.value))
    assert found.time == (None if stamp is None else stamp / 1e3)


@pytest.mark.parametrize(
    ("line", "value", "time"),
    [
        ("x NaN", math.nan, None),
        ("x +Inf", math.inf, None),
        ("x -Inf 1700000000123", -math.inf, 1700000000.123),  # Prometheus: milliseconds
        ("x 1e3 1700000000.5", 1000.0, 1700000000.5),  # OpenMetrics: seconds
        ("x 1 1700000000", 1.0, 1700000000.0),
        ("x 1 5000", 1.0, 5.0),
        ("x\t2", 2.0, None),
        ('x_bucket{le="+Inf"} 3 # {} 0.5', 3.0, None),
        ('x{path="/a}{b",} 4', 4.0, None),
        ("x{} 5", 5.0, None),
    ],
)
def test_values_times_and_exemplars(line, value, time):
    (found,) = read(line)
    assert found.value == pytest.approx(value, nan_ok=True)
    assert found.time == pytest.approx(time) if time is not None else found.time is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x", "'x' is no metric: is the page cut?"),
        ('x{engine="0', "is the page cut?"),
        ('x{engine="0"}', "is the page cut?"),
        ('x{a="1" b="2"} 3', "can't be read"),
        ("x{a=1} 3", "labels {a=1} can't be read"),
        ("x 1,5", "no metric"),
        ("x 1_000", "x: '1_000' is no number"),
        ("x many", "x: 'many' is no number"),
        ("x 1 2 3", "no metric"),
        ("9x 1", "no metric"),
    ],
)
def test_what_is_no_metric_is_refused_by_line(line, said):
    with pytest.raises(InputError) as error:
        read(f"# HELP x\nx 1\n\n{line}")
    assert str(error.value).startswith("page: line 4")
    assert said in str(error.value)


def test_pages_begin_with_a_time_or_where_a_sample_comes_again():
    text = '# HELP x\nx{a="1"} 1\nx{a="2"} 1\n# HELP x\nx{a="1"} 2\n# time_s 9\ny 3\n# EOF\n'
    found = list(pages(text))
    assert [[line for line, _ in page] for page in found] == [[1, 2, 3], [4, 5], [6, 7]]
    assert [time_of(page, "page") for page in found] == [None, None, 9.0]
    assert list(pages("# nothing\n\n")) == []
    with pytest.raises(InputError, match="page: line 1: 'soon' is no number"):
        time_of([(1, "# time_s soon")], "page")


@pytest.mark.parametrize(
    ("text", "is_page"),
    [
        ("# TYPE x gauge\n", True),
        ("x 1\n", True),
        ('{"x": 1}', False),
        ("time_s,a\n1,2\n", False),
        ("", False),
    ],
)
def test_a_page_is_told_from_other_files(text, is_page):
    assert looks_like_page(text) is is_page
