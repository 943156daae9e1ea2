"""What happened, as flat columns: a row per request, a row per stretch of equal steps."""

from array import array

from hasten.core.request import Request

OK, REJECTED, UNFINISHED = range(3)


class Recorder:
    """Request records and token gaps of one run, compact enough for millions of requests.

    Gaps between output tokens are kept as arithmetic progressions (start, first gap, increment, steps, weight):
    `weight` sequences each emitted `steps` tokens from `start` on, `first`, `first + increment`, ... seconds
    apart. Every single gap can be rebuilt from them exactly. Times in seconds.
    """

    def __init__(self) -> None:
        self.id = array("q")
        self.arrival = array("d")
        self.drained = array("d")
        self.scheduled = array("d")
        self.first_token = array("d")
        self.finish = array("d")
        self.prompt_tokens = array("i")
        self.output_tokens = array("i")
        self.cached_tokens = array("i")
        self.preemptions = array("i")
        self.replica = array("i")
        self.session = array("i")
        self.status = array("b")
        self.gap_start = array("d")
        self.gap_first = array("d")
        self.gap_increment = array("d")
        self.gap_steps = array("i")
        self.gap_weight = array("i")

    def gaps(self, start: float, first: float, increment: float, steps: int, weight: int) -> None:
        """`weight` sequences emitted `steps` tokens each, the first gap beginning at `start`."""
        self.gap_start.append(start)
        self.gap_first.append(first)
        self.gap_increment.append(increment)
        self.gap_steps.append(steps)
        self.gap_weight.append(weight)

    def request(self, request: Request, output_tokens: int, replica: int, status: int) -> None:
        """The life of `request`, which ended or was cut off."""
        self.id.append(request.id)
        self.arrival.append(request.arrival)
        self.drained.append(request.drained)
        self.scheduled.append(request.scheduled)
        self.first_token.append(request.first_token)
        self.finish.append(request.finish)
        self.prompt_tokens.append(request.prompt_tokens)
        self.output_tokens.append(output_tokens)
        self.cached_tokens.append(request.cached)
        self.preemptions.append(request.preemptions)
        self.replica.append(replica)
        self.session.append(request.session)
        self.status.append(status)
