"""Charts in the terminal: never wider than it, the same without colours, ASCII where there is nothing else."""

import io
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.cli import main
from hasten.cli.options.plot import look_of
from hasten.cli.output.plot.bars import composition, legend
from hasten.cli.output.plot.canvas import Canvas
from hasten.cli.output.plot.distribution import Distribution, distribution
from hasten.cli.output.plot.forest import Span, forest
from hasten.cli.output.plot.frame import beside, visible
from hasten.cli.output.plot.load import load
from hasten.cli.output.plot.look import NARROWEST, WIDEST, Look, look_at
from hasten.cli.output.plot.scale import Scale, log_ticks, logarithmic, of_percentiles, ticks
from hasten.cli.output.plot.scatter import Axis, Point, front, scatter
from hasten.cli.output.plot.sides import Swept, along, key, overlaid
from hasten.cli.output.plot.words import duration, percent, short

LOOKS = [Look(80), Look(80, is_unicode=False), Look(100, has_colour=True), Look(NARROWEST)]
CODES = re.compile(r"\x1b\[[0-9;]*m")
POSITIVE = st.floats(1e-3, 1e7)


def keeps_to(look: Look, lines: list[str]) -> str:
    """The text without colours, after the laws that hold for every chart."""
    text = "\n".join(lines)
    assert all(visible(line) <= look.width for line in lines)
    assert look.is_unicode or text.isascii()
    assert ("\x1b" in text) == look.has_colour
    return CODES.sub("", text)


# ---- what a terminal can show --------------------------------------------------------------------------------


class Stream(io.StringIO):
    def __init__(self, *, is_terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._is_terminal, self._encoding = is_terminal, encoding

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


@pytest.mark.parametrize(
    ("is_terminal", "encoding", "environment", "seen"),
    [
        (True, "utf-8", {}, (True, True)),
        (True, "utf-8", {"NO_COLOR": "1"}, (True, False)),
        (True, "utf-8", {"NO_COLOR": ""}, (True, True)),  # no-color.org: an empty string is not set
        (True, "utf-8", {"TERM": "dumb"}, (False, False)),
        (False, "utf-8", {}, (True, False)),
        (True, "latin-1", {}, (False, True)),
        (False, "ascii", {}, (False, False)),
    ],
)
def test_colours_and_characters_are_those_the_stream_has(is_terminal, encoding, environment, seen):
    look = look_at(Stream(is_terminal=is_terminal, encoding=encoding), environment)
    assert (look.is_unicode, look.has_colour) == seen


@pytest.mark.parametrize(("columns", "width"), [("100", 100), ("20", NARROWEST), ("400", WIDEST)])
def test_it_is_as_wide_as_the_terminal(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert look_at(Stream(is_terminal=False)).width == width
    monkeypatch.delenv("COLUMNS")
    assert look_at(Stream(is_terminal=False)).width == 80


# ---- canvas and scales ---------------------------------------------------------------------------------------


@given(st.sets(st.tuples(st.integers(-3, 25), st.integers(-3, 25))))
def test_every_dot_on_the_canvas_shows_once(dots):
    canvas = Canvas(10, 5)
    for x, y in dots:
        canvas.dot(x, y)
    shown = sum(
        (ord(each) - 0x2800).bit_count() for line in canvas.lines(Look()) for each in line if each != " "
    )
    assert shown == sum(0 <= x < canvas.across and 0 <= y < canvas.down for x, y in dots)
    plain = canvas.lines(Look(is_unicode=False))
    marked = {(x // 2, y // 4) for x, y in dots if 0 <= x < canvas.across and 0 <= y < canvas.down}
    assert {(c, r) for r, line in enumerate(plain) for c, each in enumerate(line) if each != " "} == marked


def test_a_line_has_no_holes():
    canvas = Canvas(8, 4)
    canvas.line([(0, 0), (15, 15)])
    assert canvas.lines(Look())[0].startswith("⠑⢄")


@given(POSITIVE, st.floats(1.01, 1e6), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_scales_rise_from_end_to_end(low, factor, one, other):
    for scale in (logarithmic(low, low * factor, 50), Scale(low, low * factor, 50)):
        assert scale(scale.low) == pytest.approx(0.0, abs=1e-6)
        assert scale(scale.high) == pytest.approx(49.0)
        first, last = sorted((one, other))
        span = scale.high - scale.low
        assert scale(scale.low + first * span) <= scale(scale.low + last * span) + 1e-6
    paper = of_percentiles(0.1, 99.9, 50)
    assert paper(100 * min(one, other)) <= paper(100 * max(one, other))
    assert paper(50.0) == pytest.approx(24.5)


@given(POSITIVE, st.floats(1.0001, 1e6), st.integers(2, 9))
def test_ticks_lie_between_the_ends(low, factor, most):
    high = low * factor
    for found in (ticks(low, high, most), log_ticks(low, high, most)):
        assert found == sorted(found)
        assert all(low * (1 - 1e-9) <= each <= high * (1 + 1e-9) for each in found)
        assert len(found) <= 3 * most


@given(st.floats(1e-3, 1e8))
def test_numbers_stay_short(value):
    assert len(short(value)) <= 11
    assert len(duration(value)) <= 13


def test_words():
    assert [duration(each) for each in (0.81, 45.0, 999.96, 1234.5, 61e3, math.inf, math.nan)] == [
        "0.81 ms", "45 ms", "1 s", "1.23 s", "1.02 min", "no end", "-",
    ]  # fmt: skip
    assert [percent(each) for each in (1.0, 0.9999, 0.992, math.nan)] == ["100 %", "99.9 %", "99.2 %", "-"]


# ---- charts ---------------------------------------------------------------------------------------------------


def lognormal(size: int = 2_000) -> np.ndarray:
    return np.random.default_rng(0).lognormal(4.0, 0.8, size)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("size", [1, 50, 500, 5_000])
@pytest.mark.parametrize("limit", [None, 1.0, 300.0, 1e6])
def test_distributions_of_any_size_and_limit(look, size, limit):
    shown = Distribution("TTFT", lognormal(size), size, limit)
    text = keeps_to(look, distribution(shown, look, 40))
    assert "p50" in text
    assert ("within" in text) == (limit is not None)


def test_a_lognormal_is_a_straight_line():
    """Probability paper against a logarithmic scale: the dots of the curve lie on its chord."""
    lines = distribution(Distribution("TTFT", lognormal(200_000), 200_000), Look(), 60, rows=20)
    starts = [next((at for at, each in enumerate(line[6:]) if each > "⠀"), None) for line in lines[1:21]]
    rows = [(row, start) for row, start in enumerate(starts) if start is not None]
    slope = np.polyfit(*zip(*rows, strict=True), 1)
    assert np.abs(np.polyval(slope, [row for row, _ in rows]) - [start for _, start in rows]).max() < 4.0


def test_a_distribution_looks_like_this():
    shown = Distribution("TTFT", np.linspace(20.0, 400.0, 200), 200, 300.0)
    assert "\n".join(line.rstrip() for line in distribution(shown, Look(), 34, rows=6)) == (
        "TTFT  73.5 % within 300 ms\n"
        "  p99┤                        ⠃ ⢰●\n"
        "  p90┤                        ⠃⣠⠏\n"
        "  p50┤              210 ms ●⡤⠖⠋⠁\n"
        "     │              ⣀⣀⡤⠤⠒⠚⠉⠁  ⠃\n"
        "  p10┤     ⢀⣀⣠⠤⠴⠒⠒⠋⠉⠁         ⠃\n"
        "   p1┤⢀⡠⠔⠒⠉⠉                  ⠃\n"
        "     └───────┬──────┬─────┬───────\n"
        "           50 ms 100 ms 200 ms"
    )


@pytest.mark.parametrize("look", LOOKS)
def test_bars_fill_their_room_whatever_the_shares(look):
    bands = [
        {"from_percentile": 0, "to_percentile": 50, "mean_ms": 10.0, "labels_ms": {"a": 9.0, "b": 1.0}},
        {"from_percentile": 50, "to_percentile": 100, "mean_ms": 1e5, "labels_ms": {"b": 1e5, "c": 0.01}},
    ]
    families = [{"family": name, "text": name} for name in ("wait", "others", "kv")]
    lines = composition(bands, families, {"a": "wait", "b": "others", "c": "kv"}, look, title="TTFT")
    text = keeps_to(look, lines).splitlines()
    assert {len(line) for line in text[1:]} == {look.width}
    wait, others = ("█", "▓") if look.is_unicode else ("#", "*")
    assert abs(text[1].count(wait) / (text[1].count(wait) + text[1].count(others)) - 0.9) < 0.02
    assert text[2].count(others) > 20
    assert wait not in text[2]
    assert "others" in keeps_to(look, legend(families, look))


@pytest.mark.parametrize("look", LOOKS)
def test_effects_show_their_intervals_on_both_sides_of_zero(look):
    spans = [
        Span("twice as fast", -0.4, -0.5, -0.3),
        Span("more", 0.0, -0.05, 0.05),
        Span("a change whose words are far too long for the room that a line leaves", 30.0, 20.0, 60.0),
        Span("less", 0.2, 0.1, 0.4),
        Span("not known", math.nan, math.nan, math.nan),
        Span("no interval", -0.1, math.nan, math.nan),
    ]
    text = keeps_to(look, forest(spans, look, title="effects"))
    lines = text.splitlines()
    dot = "●" if look.is_unicode else "*"
    assert [line.find(dot) for line in lines[1:3]] == sorted(line.find(dot) for line in lines[1:3])
    assert "x31" in text
    assert "not known" not in text
    assert lines[1].endswith("-40%")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("limit", [None, 400.0])
def test_load_rises_to_its_limit_and_past_the_end(look, limit):
    points = [
        {
            "rate_req_per_s": rate,
            "ttft_ms": 100.0 / max(1.0 - rate / 10.0, 0.0) if rate < 10 else math.inf,
            "ttft_low_ms": 80.0,
            "ttft_high_ms": None if rate > 8 else 150.0 / (1.0 - rate / 10.0),
            "median_ttft_ms": 50.0,
        }
        for rate in (1.0, 3.0, 5.0, 7.0, 9.0, 10.0)
    ]
    marks = {"planned": 5.0, "holds up to": 7.2}
    text = keeps_to(look, load(points, "ttft", look, percentile=99.0, limit=limit, marks=marks, title="load"))
    assert "planned 5 req/s" in text
    assert "holds up to 7.2 req/s" in text
    assert ("limit 400 ms" in text) == (limit is not None)


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=12), st.booleans())
def test_nothing_beats_the_front(at, less):
    points = [Point("", x, y, holds=True) for x, y in at]
    found = front(points, less=less)

    def beats(one, other):
        y = one.y <= other.y if less else one.y >= other.y
        return one.x >= other.x and y and (one.x, one.y) != (other.x, other.y)

    assert not any(beats(one, other) for one in points for other in found)
    assert all(any((e.x, e.y) == (p.x, p.y) or beats(e, p) for e in found) for p in points)


@pytest.mark.parametrize("look", LOOKS)
def test_points_have_letters_and_marks(look):
    points = [
        Point("a", 30.0, 600.0, holds=True, is_best=True),
        Point("b", 50.0, 1400.0, holds=True),
        Point("", 40.0, 800.0, holds=False),
    ]
    lines = scatter(points, look, 38, title="t", across=Axis("x"), upwards=Axis("y"), less=False)
    text = keeps_to(look, lines)
    best, held, missed = ("◆", "●", "○") if look.is_unicode else ("#", "*", "o")
    assert best + "a" in text
    assert held + "b" in text
    assert text.count(missed) == 1


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("limit", [None, 300.0])
def test_every_side_has_its_letter_on_its_curve(look, limit):
    sides = [
        Distribution(name, lognormal() * factor, 2_000, limit)
        for name, factor in zip("uvw", (1, 1, 3), strict=True)
    ]
    lines = overlaid(sides, look, 38, title="TTFT")
    text = keeps_to(look, lines)
    assert all(sum(letter in line[6:] for line in text.splitlines()[1:13]) == 1 for letter in "abc")
    named = keeps_to(look, key(["one side", "another", "x" * 50], look))
    assert named.startswith("a one side   b another")
    empty = [Distribution("u", np.zeros(0), 10, limit)]
    assert "no request" in overlaid([*empty, *empty], look, 38, title="TPOT")[0]
    assert "b" in keeps_to(look, overlaid([*empty, sides[0]], look, 38, title="TPOT"))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("points", [("1", "2", "4"), ("auto", "fp8", "int8"), ("7",), ("4", "2", "1")])
def test_sides_along_a_sweep(look, points):
    sides = [
        Swept("u", [100.0 * (k + 1) for k in range(len(points))]),
        Swept("v", [math.inf, 50.0, math.nan][: len(points)]),
    ]
    text = keeps_to(look, along(sides, points, look, 38, title="TTFT p99", limit=250.0))
    assert text.startswith("TTFT p99, limit 250 ms")
    assert "a" in text
    axis = text.splitlines()[-1]
    assert points[0] in axis
    assert "nothing to draw" in along([Swept("u", [math.inf])], ["1"], look, 38, title="t")[0]


def test_blocks_of_different_height_stand_beside_each_other():
    assert beside([["ab", "c"], ["d"]]) == ["ab  d", "c"]


# ---- commands ---------------------------------------------------------------------------------------------------

RUN = ["llama-3.1-8b", "--device", "l40s", "--rate", "2", "--limit", "60", "--ttft", "1s"]
PLAN = ["plan", "llama-3.1-8b", "--devices", "l40s", "--tp", "1", "--rate", "3", "--limit", "200"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["simulate", *RUN], ["within 1 s", "Where TTFT goes", "Where E2E goes", "own prefill"]),
        (["simulate", *RUN, "--decode-replicas", "1"], ["within 1 s"]),
        (["explain", *RUN], ["Where TTFT goes", "What one change makes of p99 TTFT"]),
        (
            [*PLAN, "--ttft", "1s", "--tpot", "100ms", "--jobs", "1"],
            ["tok/s/GPU over tok/s/user", "$ per 1M tokens", "$/1M tok", "◆ chosen", "planned 3 req/s"],
        ),
        ([*PLAN, "--ttft", "1ms", "--jobs", "1"], ["nothing to draw"]),
        (
            ["compare", *RUN, "--schedule", "fcfs,prefill_first"],
            ["TTFT, limit 1 s", "a fcfs   b prefill_first", "Change against fcfs", "prefill_first: TTFT p99"],
        ),
        (
            ["compare", "llama-3.1-8b", "--device", "l40s,h100-sxm", "--limit", "60", "--sweep", "rate=1,2"],
            ["TTFT p99 over rate", "TPOT p99 over rate", "a l40s   b h100-sxm"],
        ),
    ],
)
def test_commands_draw_below_their_numbers(capsys, command, said):
    main(command)
    alone = capsys.readouterr().out
    main([*command, "--plot"])
    drawn = capsys.readouterr().out
    assert drawn.startswith(alone)
    charts_only = drawn[len(alone) :]
    assert all(len(line) <= 80 for line in charts_only.splitlines())
    for words in said:
        assert words in charts_only


def test_json_stays_json(capsys):
    main(["simulate", *RUN, "--json"])
    alone = capsys.readouterr().out
    main(["simulate", *RUN, "--json", "--plot"])
    assert capsys.readouterr().out == alone


def test_what_was_observed_has_no_charts(capsys):
    assert main(["explain", "--metrics", "x.csv", "--plot"]) == 2
    assert "--plot is of a simulated run" in capsys.readouterr().err


def test_a_measured_run_has_no_sides(capsys):
    assert main(["compare", "--measured", "x.json", "--plot"]) == 2
    assert "--plot shows sides" in capsys.readouterr().err


def test_no_one_asks_no_chart():
    assert look_of(SimpleNamespace(plot=False, json=False)) is None
    assert look_of(SimpleNamespace(plot=True, json=True)) is None
