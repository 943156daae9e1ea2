"""Laws of the Workload type, over generated workloads."""

import dataclasses
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.workload import Workload

LAWS = settings(max_examples=25, deadline=None)


@st.composite
def workloads(draw, blocks=False, links=False, min_size=1):
    """Workloads of up to 30 rows; with block ids or turns when asked."""
    num = draw(st.integers(min_size, 30))
    gaps = draw(st.lists(st.floats(0, 100, allow_subnormal=False), min_size=num, max_size=num))
    prompt = draw(st.lists(st.integers(1, 3000), min_size=num, max_size=num))
    output = draw(st.lists(st.integers(1, 500), min_size=num, max_size=num))
    columns = {"arrival": np.cumsum(gaps), "prompt_tokens": prompt, "output_tokens": output}
    if blocks:
        size = draw(st.sampled_from([16, 512]))
        counts = [-(-tokens // size) for tokens in prompt]
        ids = draw(st.lists(st.integers(0, 50), min_size=sum(counts), max_size=sum(counts)))
        columns |= {"block_ids": ids, "block_offsets": np.concatenate(([0], np.cumsum(counts)))}
        columns["block_ids"] = np.array(ids, dtype=np.int64)
        columns["block_tokens"] = size
    if links:
        columns["parent"] = [draw(st.integers(-1, row - 1)) for row in range(num)]
        columns["think_s"] = draw(st.lists(st.floats(0, 1e4), min_size=num, max_size=num))
        columns["priority"] = draw(st.lists(st.integers(-5, 5), min_size=num, max_size=num))
        columns["session"] = draw(st.lists(st.integers(-1, 5), min_size=num, max_size=num))
        columns["max_tokens"] = draw(st.lists(st.integers(1, 900), min_size=num, max_size=num))
    return Workload(**columns, origin="generated")


def same(left, right, rel=1e-12):
    """Equal columns; times to `rel`, None alike."""
    for field in dataclasses.fields(Workload):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if field.name in ("origin", "dropped"):
            continue
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            np.testing.assert_allclose(a, b, rtol=rel, atol=1e-9 if field.name == "arrival" else 0)
        else:
            assert a is None or not isinstance(a, np.ndarray), field.name
            assert a == b, field.name


@LAWS
@given(workloads(min_size=3), st.floats(0.01, 1000))
def test_scaling_gives_the_rate_asked_and_keeps_the_bursts(work, rate):
    if work.duration < 1e-6:
        return
    scaled = work.scaled(rate=rate)
    assert scaled.rate == pytest.approx(rate, rel=1e-9)
    np.testing.assert_allclose(
        np.diff(scaled.arrival) / scaled.duration, np.diff(work.arrival) / work.duration, atol=1e-9
    )
    assert scaled.describe().gap_cv == pytest.approx(work.describe().gap_cv, rel=1e-6)
    assert (scaled.prompt_tokens == work.prompt_tokens).all()
    np.testing.assert_allclose(work.scaled(rate=3).scaled(rate=rate).arrival, scaled.arrival, rtol=1e-9)


@LAWS
@given(workloads(blocks=True), st.integers(1, 5))
def test_repeating_keeps_counts_rate_and_hits(work, times):
    repeated = work.repeated(times)
    assert len(repeated) == times * len(work)
    assert repeated.prompt_tokens.sum() == times * work.prompt_tokens.sum()
    assert (repeated.output_tokens[-len(work) :] == work.output_tokens).all()
    if len(work) > 1 and work.duration > 1e-6:
        assert repeated.rate == pytest.approx(work.rate, rel=1e-9)
    assert len(np.unique(repeated.block_ids)) == times * len(np.unique(work.block_ids))
    shared = work.repeated(times, share_blocks=True)
    assert len(np.unique(shared.block_ids)) == len(np.unique(work.block_ids))


@LAWS
@given(workloads(links=True), workloads(links=True), workloads())
def test_joining_keeps_every_row_in_order_and_links_inside_parts(first, second, third):
    joined = first.concat(second, third)
    assert len(joined) == len(first) + len(second) + len(third)
    cut = len(first)
    same(joined.slice(0, cut).replaced(arrival=first.arrival), first)
    inside = joined.parent[cut : cut + len(second)]
    assert (np.where(inside >= 0, inside - cut, -1) == second.parent).all()
    assert (joined.parent[cut + len(second) :] == -1).all()
    groups = set(joined.session[:cut].tolist()) & set(joined.session[cut:].tolist())
    assert groups <= {-1}
    assert joined.think_s[: len(first)].tolist() == first.think_s.tolist()


@LAWS
@given(workloads(blocks=True, links=True), st.data())
def test_a_slice_holds_its_rows_and_starts_at_zero(work, data):
    start = data.draw(st.integers(0, len(work) - 1))
    stop = data.draw(st.integers(start + 1, len(work)))
    part = work.slice(start, stop)
    assert len(part) == stop - start
    if start > 0:
        assert part.arrival[0] == 0
    for row in range(len(part)):
        assert part.blocks_of(row) == work.blocks_of(start + row)
        outside = work.parent[start + row] < start
        assert part.parent[row] == (-1 if outside else work.parent[start + row] - start)
    assert len(work.head(stop)) == stop


@LAWS
@given(workloads(blocks=True, links=True))
def test_lists_equal_columns(work):
    lists = work.columns_as_lists()
    for name in ("arrival", "prompt_tokens", "output_tokens", "parent", "think_s", "session", "max_tokens"):
        values = getattr(lists, name)
        assert values == getattr(work, name).tolist()
        assert type(values[0]) in (int, float)
    assert lists.block_ids == [work.blocks_of(row) for row in range(len(work))]


@LAWS
@given(work=workloads(links=True), suffix=st.sampled_from([".csv", ".jsonl", ".csv.gz"]))
def test_minimal_traces_read_back_as_written(tmp_path_factory, work, suffix):
    path = tmp_path_factory.mktemp("minimal") / f"trace{suffix}"
    work = work.replaced(arrival=work.arrival - work.arrival[0], session=None)
    if (work.parent < 0).all():
        work = work.replaced(parent=None, think_s=None)
    else:
        work = work.replaced(think_s=np.where(work.parent < 0, 0.0, work.think_s))
    if not work.priority.any():
        work = work.replaced(priority=None)
    work.save(path)
    same(Workload.from_trace(path), work)


@LAWS
@given(work=workloads(blocks=True))
def test_mooncake_traces_read_back_as_written(tmp_path_factory, work):
    path = tmp_path_factory.mktemp("mooncake") / "trace.jsonl"
    work = work.replaced(arrival=work.arrival - work.arrival[0])
    work.save(path)
    same(Workload.from_trace(path, spread=False), work)


@LAWS
@given(workloads(links=True), st.randoms(use_true_random=False))
def test_records_in_any_order_give_one_workload(work, shuffler):
    spaced = work.replaced(arrival=np.arange(len(work)) * 1.5, session=None)
    lists = spaced.columns_as_lists()
    places = list(range(len(work)))
    shuffler.shuffle(places)
    now_at = {row: place for place, row in enumerate(places)}
    records = [
        {
            "arrival": lists.arrival[row],
            "prompt_tokens": lists.prompt_tokens[row],
            "output_tokens": lists.output_tokens[row],
            "parent": now_at.get(lists.parent[row], -1),
            "think_s": lists.think_s[row],
            "max_tokens": lists.max_tokens[row],
        }
        for row in places
    ]
    again = Workload.from_records(records)
    assert (again.parent is None) == (spaced.parent < 0).all()
    if again.parent is not None:
        assert (again.parent == spaced.parent).all()
    assert (again.prompt_tokens == spaced.prompt_tokens).all()
    assert (again.arrival == spaced.arrival).all()


@LAWS
@given(workloads(links=True))
def test_sessions_and_open_loop(work):
    recorded = work.replaced(think_s=None)
    sessions = recorded.as_sessions()
    assert sessions.has_sessions
    linked = sessions.parent >= 0
    gaps = work.arrival[linked] - work.arrival[work.parent[linked]]
    np.testing.assert_allclose(sessions.think_s[linked], gaps)
    shorter = recorded.as_sessions(seconds_per_token=0.05)
    assert (shorter.think_s <= sessions.think_s).all()
    assert (shorter.think_s >= 0).all()
    opened = sessions.open_loop()
    assert opened.parent is None
    assert not opened.has_sessions
    assert (opened.arrival == work.arrival).all()


def test_sessions_from_the_session_column():
    work = Workload(
        arrival=[0, 1, 2, 3, 9], prompt_tokens=[1] * 5, output_tokens=[10] * 5, session=[7, -1, 7, -1, 7]
    )
    turns = work.as_sessions(seconds_per_token=0.5)
    assert turns.parent.tolist() == [-1, -1, 0, -1, 2]
    assert turns.think_s.tolist() == [0, 0, 0, 0, 2.0]  # gaps 2 and 7 s less 5 s of service, never below 0


def test_columns_are_read_only_and_compact():
    num = 100_000
    rng = random.Random(0)
    mine = np.arange(num, dtype=np.float64)
    work = Workload(
        arrival=mine,
        prompt_tokens=[rng.randint(1, 5000) for _ in range(num)],
        output_tokens=[rng.randint(1, 500) for _ in range(num)],
    )
    with pytest.raises(ValueError, match="read-only"):
        work.arrival[0] = 5.0
    mine[0] = 0.0  # the caller's own array stays writable
    columns = (getattr(work, field.name) for field in dataclasses.fields(Workload))
    held = sum(column.nbytes for column in columns if isinstance(column, np.ndarray))
    assert held <= 16 * num
    lists = work.columns_as_lists()
    assert len({id(value) for value in lists.prompt_tokens}) <= 5000


def test_rates_of_the_corner_cases():
    one = Workload(arrival=[4.0], prompt_tokens=[1], output_tokens=[1])
    assert math.isnan(one.rate)
    assert one.duration == 0
    burst = Workload(arrival=[0, 0, 0], prompt_tokens=[1] * 3, output_tokens=[1] * 3)
    assert burst.rate == math.inf
    assert burst.scaled(rate=math.inf) is burst
    spaced = Workload(arrival=[0, 1, 4], prompt_tokens=[1] * 3, output_tokens=[1] * 3)
    assert spaced.rate == 0.5
    assert spaced.scaled(rate=math.inf).arrival.tolist() == [0, 0, 0]


GOOD = {"arrival": [0.0, 1.0], "prompt_tokens": [5, 5], "output_tokens": [5, 5]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrival": [1.0, 0.0]}, "never falling"),
        ({"arrival": [0.0, math.nan]}, "finite"),
        ({"arrival": [-1.0, 0.0]}, "from 0 on"),
        ({"arrival": []}, "no requests"),
        ({"arrival": ["a", "b"]}, "give numbers"),
        ({"prompt_tokens": [5, 0]}, r"prompt_tokens\[1\] = 0 is outside"),
        ({"prompt_tokens": [5, 2**40]}, "outside"),
        ({"output_tokens": [5.5, 5.0]}, "whole numbers"),
        ({"output_tokens": [5]}, r"expected \(2,\)"),
        ({"output_tokens": [5, 20_000_000]}, "outside 1 to 10000000"),
        ({"parent": [-1, 1]}, r"parent\[1\] = 1 is not an earlier row"),
        ({"parent": [-2, 0]}, "not an earlier row"),
        ({"think_s": [0.0, 1.0]}, "without parent"),
        ({"think_s": [0.0, -1.0], "parent": [-1, 0]}, "0 or more"),
        ({"block_tokens": 16}, "give all three"),
        ({"block_tokens": 16, "block_ids": [1], "block_offsets": [0, 1, 2]}, "must rise"),
        (
            {"block_tokens": 4, "block_ids": [1, 2, 3], "block_offsets": [0, 0, 3]},
            "request 1 has 3 blocks of 4",
        ),
    ],
)
def test_bad_columns_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Workload(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda work: work.scaled(rate=0), "above 0"),
        (lambda work: work.scaled(rate=math.nan), "above 0"),
        (lambda work: work.head(1).scaled(rate=2), "two requests"),
        (lambda work: work.scaled(rate=math.inf).scaled(rate=2), "at once"),
        (lambda work: work.repeated(0), "below 1"),
        (lambda work: work.head(0), "holds none"),
        (lambda work: work.slice(2), "holds none"),
        (lambda work: work.as_sessions(), "nothing links"),
        (lambda work: work.replaced(parent=[-1, 0]).as_sessions(seconds_per_token=-1), "0 or more"),
        (lambda work: work.save("x.parquet"), "ends in .csv"),
        (lambda work: work.save("nowhere/x.csv"), "can't be written"),
        (lambda work: work.save("x.csv", format="azure"), "can't be written"),
        (
            lambda work: work.replaced(priority=[1, 2]).save("x.jsonl", format="mooncake"),
            "can't hold priority",
        ),
        (lambda work: Workload.from_records([]), "no usable request"),
        (lambda work: Workload.from_records([{"arrival": 0}]), "row 0: 'prompt_tokens' is missing"),
        (lambda work: Workload.from_records([{**row(), "speed": 3}]), "speed"),
        (lambda work: Workload.from_records([{**row(), "block_ids": [1]}]), "block_tokens"),
    ],
)
def test_bad_requests_are_refused(action, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        action(Workload(**GOOD))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def row():
    """A good record."""
    return {"arrival": 0.0, "prompt_tokens": np.int64(3), "output_tokens": 4}
