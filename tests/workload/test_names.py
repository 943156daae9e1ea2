"""Block ids row by row, for runs: the same as the columns say, from whichever row on."""

from hypothesis import given
from hypothesis import strategies as st

from hasten.workload import Workload, parse_workload
from hasten.workload.names import BlockNames

AGENTS = parse_workload("agents:kind=swe,rate=0.3,n=3")
SINGLES = Workload.from_trace("mooncake-conversation", limit=40)


@given(st.sampled_from((AGENTS, SINGLES)), st.data())
def test_a_piece_names_what_the_whole_does(work: Workload, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(work) - 1))
    stop = data.draw(st.one_of(st.none(), st.integers(start + 1, len(work))))
    names = BlockNames(work, start, stop)
    row = data.draw(st.integers(start, (len(work) if stop is None else stop) - 1))
    assert names.of(row - start) == (work.blocks_of(row), work.ends_of(row))
