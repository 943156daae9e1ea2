"""The waiting queue against a plain list."""

from hypothesis import given
from hypothesis import strategies as st
from tests.core.driving import request

from hasten.core.queue import WaitingQueue

EVENTS = st.lists(
    st.tuples(st.sampled_from(("push", "first", "pop", "remove")), st.integers(0, 9)), max_size=40
)


@given(EVENTS)
def test_without_a_rank_it_is_first_in_first_out_and_the_preempted_go_first(events):
    queue = WaitingQueue()
    line = []
    for number, (kind, which) in enumerate(events):
        if kind == "push":
            line.append(request(number, 1))
            queue.push(line[-1])
        elif kind == "first":
            line.insert(0, request(number, 1))
            queue.push(line[0], first=True)
        elif line and kind == "pop":
            assert queue.head() is line[0]
            assert queue.pop() is line.pop(0)
        elif line:
            queue.remove(line.pop(which % len(line)))
        assert list(queue) == line
        assert len(queue) == queue.size == len(line)


@given(EVENTS, st.integers(1, 4))
def test_with_a_rank_the_smallest_goes_first_ties_by_arrival(events, kinds):
    """Ranks are asked when a request joins, and all anew by `resort`."""
    shift = 0
    queue = WaitingQueue(lambda each: (each.prompt_tokens + shift * each.id) % kinds)
    known = {}

    def order():
        return sorted(known, key=lambda each: (known[each], each.arrival, each.id))

    for number, (kind, which) in enumerate(events):
        line = order()
        if kind in ("push", "first"):
            one = request(number, which + 1)
            known[one] = (one.prompt_tokens + shift * one.id) % kinds
            queue.push(one, first=kind == "first")
        elif line and kind == "pop":
            assert queue.head() is line[0]
            assert queue.pop() is line[0]
            del known[line[0]]
        elif line:
            queue.remove(line[which % len(line)])
            del known[line[which % len(line)]]
        if which == 0:
            shift += 1
            queue.resort()
            if len(known) > 1:  # nobody to change places with
                known = {one: (one.prompt_tokens + shift * one.id) % kinds for one in known}
        assert list(queue) == order()
        assert len(queue) == queue.size == len(known)
