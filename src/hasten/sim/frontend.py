"""What happens to a request between the door and the engine."""

from hasten.core.request import Request


class Frontend:
    """Seconds that the API process spends per request before the engine sees it: a queue with one server."""

    def __init__(self, per_request: float = 0.0, per_prompt_token: float = 0.0) -> None:
        self.per_request = per_request
        self.per_prompt_token = per_prompt_token
        self.free_at = 0.0

    def deliver(self, request: Request, now: float) -> float:
        """When the engine gets `request`, which arrived at `now` (s)."""
        spent = self.per_request + self.per_prompt_token * request.prompt_tokens
        self.free_at = max(self.free_at, now) + spent
        return self.free_at
