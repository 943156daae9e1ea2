"""What one step runs."""

from hasten.core.request import DECODING, Request


class Chunk:
    """One request's share of a step that computes prompt tokens: [context, context + tokens)."""

    __slots__ = ("context", "is_last", "request", "tokens")

    def __init__(self, request: Request, tokens: int, context: int, is_last: bool) -> None:
        self.request = request
        self.tokens = tokens
        self.context = context
        self.is_last = is_last  # the chunk reaches the end of the known tokens and samples one

    def __repr__(self) -> str:
        return f"Chunk({self.request.id}, [{self.context}, {self.context + self.tokens}))"


class Batch:
    """A step: prefill chunks, and one token for each of `num_decodes` sequences.

    Decoding sequences advance in lockstep, so they are counted, not listed: `decode_context` is the sum of their
    tokens in KV before the step. `padding` counts decodes whose token is thrown away (stopped after they were
    scheduled, or held to the end of a request-level batch). `closing` requests sample their last allowed token.
    `clock` is the scheduler's decode clock after the step; `version` names the group of sequences that decode.
    """

    __slots__ = (
        "clock", "closing", "decode_context", "num_decodes", "padding", "preempted", "prefills", "version",
    )  # fmt: skip

    def __init__(
        self,
        prefills: list[Chunk],
        num_decodes: int,
        decode_context: int,
        clock: int,
        version: int,
        padding: int = 0,
    ) -> None:
        self.prefills = prefills
        self.num_decodes = num_decodes
        self.decode_context = decode_context
        self.clock = clock
        self.version = version
        self.padding = padding
        self.closing: list[Request] | None = None
        self.preempted: list[Request] | None = None

    def close(self, request: Request) -> None:
        """`request` samples its last allowed token here."""
        if self.closing is None:
            self.closing = []
        self.closing.append(request)

    def waste(self, request: Request) -> None:
        """`request` ended while this step was in flight: the token it samples here, if any, is thrown away."""
        if (
            self.num_decodes
            and request.joined < self.clock
            and (request.status == DECODING or self.clock <= request.left)
        ):
            self.padding += 1

    @property
    def tokens(self) -> int:
        """Tokens that the step computes."""
        return self.num_decodes + sum(chunk.tokens for chunk in self.prefills)
