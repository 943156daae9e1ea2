"""Programs of calls: their columns, their joins, and the kinds that are built in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.workload import Workload, parse_workload
from hasten.workload.agents import kinds
from hasten.workload.joins import Joins, ragged_joins
from hasten.workload.programs import Call, Program, workload_of

SIZE = 4


def blocks(work: Workload) -> list[tuple[tuple[int, int], ...]]:
    """The single blocks of every row: (run, place within it)."""
    named = []
    for row in range(len(work)):
        start, found = 0, []
        for run, end in zip(work.blocks_of(row), work.ends_of(row), strict=True):
            found += [(run, place) for place in range((end - start) // work.block_tokens)]
            start = end
        named.append(tuple(found))
    return named


def test_a_turn_begins_with_the_text_before_it() -> None:
    work = workload_of([Program(0.0, (Call(10, 6), Call(5, 3, (0,), wait_s=2.0)))], block_tokens=SIZE)
    assert work.prompt_tokens.tolist() == [10, 21]  # 10 + 6 + 5
    first, second = blocks(work)
    assert len(first) == 4  # 16 tokens, answer included
    assert len(second) == 6
    assert second[:4] == first
    assert work.parent is not None
    assert work.parent.tolist() == [-1, 0]


def test_forks_share_and_then_differ() -> None:
    calls = (Call(8, 8), Call(4, 4, (0,)), Call(4, 4, (0,)), Call(8, 4, (1, 2)))
    work = workload_of([Program(1.0, calls)], block_tokens=SIZE)
    root, left, right, joined = blocks(work)
    assert left[:4] == right[:4] == root
    assert not set(left[4:]) & set(right[4:])
    assert joined[: len(left)] == left  # it continues the first it waits for
    assert work.joins is not None
    assert work.joins.of(3) == [2]


def test_programs_of_one_kind_share_their_beginning() -> None:
    pair = [
        Program(0.0, (Call(4, 4),), shared="a", shared_tokens=10),
        Program(1.0, (Call(4, 4),), shared="a", shared_tokens=10),
    ]
    one, two = blocks(workload_of(pair, block_tokens=SIZE))
    assert one[:2] == two[:2]
    assert one[2:] != two[2:]


def test_tools_stand_with_the_answer_that_calls_them() -> None:
    calls = (Call(4, 4), Call(4, 4, (0,), tool="grep", wait_s=0.1), Call(4, 4, (1,), wait_s=9.0))
    work = workload_of([Program(0.0, calls)], block_tokens=SIZE)
    assert work.tool is not None
    assert [work.tools[tool] if tool >= 0 else None for tool in work.tool] == ["grep", None, None]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (lambda: Program(0.0, ()), "no calls"),
        (lambda: Program(0.0, (Call(1, 1, (0,)),)), "does not stand before"),
        (lambda: Program(0.0, (Call(1, 1), Call(1, 1, continues=3))), "does not stand before"),
        (lambda: workload_of([]), "no programs"),
        (lambda: workload_of([Program(0.0, (Call(0, 1),))]), "prompt_tokens"),
        (lambda: workload_of([Program(0.0, (Call(1, 1), Call(1, 1, (0,), wait_s=-1.0)))]), "think_s"),
        (lambda: ragged_joins([[], [0]], [0, 3]), "quorum"),
        (lambda: ragged_joins([[0]], [0]), "no earlier row"),
        (lambda: parse_workload("agents:kind=nobody,rate=1,n=1"), "choose swe"),
        (lambda: parse_workload("agents:kind=swe,rate=1"), "need n"),
        (lambda: parse_workload("agents:kind=swe,rate=1,n=1,size=3"), "no key 'size'"),
        (lambda: parse_workload("agents:kind=swe,rate=-1,n=1"), "rate"),
        (lambda: parse_workload("agents:kind=swe,rate=1,n=0"), "below 1"),
    ],
)
def test_bad_input_is_named(program: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        program()  # type: ignore[operator]


@pytest.mark.parametrize("kind", kinds())
def test_kinds_are_the_same_for_the_same_seed(kind: str) -> None:
    text = f"agents:kind={kind},rate=2,n=5,seed=3"
    work, again = parse_workload(text), parse_workload(text)
    assert np.array_equal(work.prompt_tokens, again.prompt_tokens)
    assert work.session is not None
    assert int(work.session.max()) == 4
    assert int(work.prompt_tokens.min()) >= kinds()[kind].texts.shared_tokens


def test_published_means() -> None:
    """Calls per program and tokens per call, as the kinds' sources give them."""
    for kind, calls, prompt, output in (
        ("bfcl", 10.75, 735, 34),
        ("lats", 159.7, 467, 73),
        ("swe", 50.8, 44800, 258),
    ):
        work = parse_workload(f"agents:kind={kind},rate=1,n=400")
        assert len(work) / 400 == pytest.approx(calls, rel=0.25)
        assert work.prompt_tokens.mean() == pytest.approx(prompt, rel=0.25)
        assert work.output_tokens.mean() == pytest.approx(output, rel=0.25)


@given(st.data())
def test_slices_keep_the_links_they_can(data: st.DataObject) -> None:
    num = data.draw(st.integers(2, 12))
    rows = [
        sorted(data.draw(st.sets(st.integers(0, row - 1), max_size=3))) if row else [] for row in range(num)
    ]
    joins = ragged_joins(rows, [0] * num)
    start = data.draw(st.integers(0, num - 1))
    stop = data.draw(st.integers(start + 1, num))
    cut = joins.slice(start, stop)
    assert [cut.of(at) for at in range(stop - start)] == [
        [row - start for row in rows[at] if row >= start] for at in range(start, stop)
    ]


def test_programs_can_be_joined_and_cut() -> None:
    one = parse_workload("agents:kind=orchestrator,rate=1,n=2")
    two = parse_workload("agents:kind=search,rate=1,n=2")
    both = one.concat(two)
    assert isinstance(both.joins, Joins)
    assert both.tools == ("fetch", "read", "retrieval") or set(both.tools) == {"fetch", "read", "retrieval"}
    part = both.slice(len(one))
    assert part.prompt_tokens.tolist() == two.prompt_tokens.tolist()
    assert part.parent is not None
    assert two.parent is not None
    assert part.parent.tolist() == two.parent.tolist()
