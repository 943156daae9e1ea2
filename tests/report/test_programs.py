"""Programs as wholes, against a plain loop over their calls."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hasten.report.programs import programs
from hasten.report.records import Records, Status


def records_of(calls: list[tuple[int, float, float, int, bool]]) -> Records:
    session, arrival, seconds, tokens, served = (list(column) for column in zip(*calls, strict=True))
    begin = np.array(arrival)
    finish = begin + np.array(seconds)
    return Records(
        arrival=begin,
        first_token=finish,
        finish=np.where(served, finish, np.nan),
        prompt_tokens=np.ones(len(calls), dtype=int),
        output_tokens=tokens,
        session=session,
        status=[Status.OK if ok else Status.REJECTED for ok in served],
    )


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of a union of spans, by walking over them."""
    total, reach = 0.0, -1.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reach))
        reach = max(reach, end)
    return total


call = st.tuples(
    st.integers(-1, 4),
    st.floats(0, 100),
    st.floats(0, 50),
    st.integers(1, 100),
    st.booleans() | st.just(True),
)


@given(st.lists(call, min_size=1, max_size=30))
def test_equals_a_plain_loop(calls: list[tuple[int, float, float, int, bool]]) -> None:
    found = programs(records_of(calls))
    sessions = sorted({each[0] for each in calls if each[0] >= 0})
    whole = [s for s in sessions if all(each[4] for each in calls if each[0] == s)]
    assert found.session.tolist() == whole
    assert found.unfinished == len(sessions) - len(whole)
    for at, session in enumerate(whole):
        spans = [(a, a + d) for s, a, d, _, _ in calls if s == session]
        completion = max(end for _, end in spans) - min(begin for begin, _ in spans)
        assert found.calls[at] == len(spans)
        assert np.isclose(found.completion[at], completion, atol=1e-9)
        assert np.isclose(found.in_calls[at], covered(spans), atol=1e-9)
        assert found.output_tokens[at] == sum(each[3] for each in calls if each[0] == session)


def test_tool_time_is_kept_apart() -> None:
    found = programs(records_of([(0, 0.0, 2.0, 10, True), (0, 5.0, 1.0, 20, True)]))
    assert found.completion.tolist() == [6.0]
    assert found.away.tolist() == [3.0]
    assert found.token_latency.tolist() == [0.1]


def test_no_sessions_no_programs() -> None:
    assert len(programs(records_of([(-1, 0.0, 1.0, 1, True)]))) == 0
