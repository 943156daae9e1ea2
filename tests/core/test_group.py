"""The arithmetic of the decode group against a model that keeps every member's context."""

from hypothesis import given
from hypothesis import strategies as st
from tests.core.driving import request

from hasten.core.group import DecodeGroup

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(1, 100)),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("advance"), st.integers(1, 40)),
    ),
    max_size=30,
)


def next_blocks(contexts, size):
    """A token needs a new block when the blocks so far are full."""
    return sum(context % size == 0 for context in contexts)


@given(EVENTS, st.sampled_from((1, 4, 16)), st.integers(0, 60), st.integers(0, 300))
def test_sums_equal_those_of_single_members(events, size, steps, free):
    group = DecodeGroup(size)
    members = []  # [request, context, tokens sampled here]
    for kind, number in events:
        if kind == "join":
            one = request(len(members), number)
            one.base, one.joined = number, group.clock
            group.join(one)
            members.append([one, number, 0])
        elif kind == "advance":
            needs = [next_blocks([member[1] + step for member in members], size) for step in range(number)]
            assert group.advance(number) == sum(needs)
            for member in members:
                member[1] += number
                member[2] += number
        elif members:
            one, context, sampled = members.pop(number % len(members))
            group.leave(one)
            assert (one.base, one.sampled, one.left) == (context, sampled, group.clock)
        contexts = [member[1] for member in members]
        assert (group.size, group.context) == (len(members), sum(contexts))
        assert group.blocks_next == next_blocks(contexts, size)
    contexts = [member[1] for member in members]
    needs = [next_blocks([context + step for context in contexts], size) for step in range(steps)]
    if members:
        fit = max(count for count in range(steps + 1) if sum(needs[:count]) <= free)
        assert group.steps_that_fit(free, steps) == fit
    for need in needs:
        assert group.blocks_next == need
        group.advance(1)


def test_a_member_needs_its_first_new_block_when_its_last_one_is_full():
    group = DecodeGroup(16)
    one = request(0, 30)
    one.base, one.joined = 30, 0
    group.join(one)
    assert [group.steps_that_fit(free, 100) for free in (0, 1, 2)] == [2, 18, 34]
    assert [group.advance(steps) for steps in (2, 1, 15, 1, 16, 160)] == [0, 1, 0, 1, 1, 10]
