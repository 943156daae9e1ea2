"""A policy under watch: every answer it gives is checked before the scheduler or the cluster sees it."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable
from typing import Any

from hasten.core.policy import (
    HOLD,
    REFUSED,
    AdmitPolicy,
    CachePolicy,
    LengthPredictor,
    RoutePolicy,
    SchedulingPolicy,
)
from hasten.core.request import DECODING, PREFILLING, Request
from hasten.testing.broken import LawBroken

Check = Callable[..., str | None]
"""Takes the method's answer and its arguments; says what is wrong with the answer, or None."""


def watch(policy: Any) -> Any:
    """Turn `policy` itself into a watched one: an instance of a subclass that checks what its methods return.

    Only methods that the policy overrides are wrapped, so that the scheduler takes the same short cuts as ever.
    """
    own = type(policy)
    members: dict[str, Any] = {"__slots__": ()}
    for base, checks in _CHECKS.items():
        if not isinstance(policy, base):
            continue
        for name, check in checks.items():
            if getattr(own, name) is not getattr(base, name):
                members[name] = _checked(getattr(own, name), check, f"{own.__name__}.{name}")
    policy.__class__ = type(own.__name__, (own,), members)
    return policy


def _checked(method: Callable[..., Any], check: Check, name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(self: Any, *arguments: Any) -> Any:
        answer = method(self, *arguments)
        trouble = check(answer, *arguments)
        if trouble is not None:
            raise LawBroken("proposals", f"{name} returned {answer!r}: {trouble}")
        return answer

    return wrapped


def _is_whole(answer: Any) -> bool:
    return isinstance(answer, numbers.Integral) and not isinstance(answer, bool)


def _is_real(answer: Any) -> bool:
    return isinstance(answer, numbers.Real) and not isinstance(answer, bool)


def _is_number(answer: Any, *_: Any) -> str | None:
    if not _is_real(answer):
        return "it must be a number"
    return "NaN has no place in an order" if math.isnan(answer) else None


def _is_bool(answer: Any, *_: Any) -> str | None:
    return None if isinstance(answer, bool) else "it must be True or False"


def _is_share_of(answer: Any, request: Request, wanted: int, view: Any) -> str | None:
    if not _is_whole(answer) or not 0 <= answer <= wanted:
        return f"request {request.id} may compute 0 to {wanted} tokens in this step"
    return None


def _is_running(answer: Any, view: Any) -> str | None:
    if answer is None or any(answer is request for request in view.running):
        return None
    status = getattr(answer, "status", None)
    ended = "" if status in (DECODING, PREFILLING) else f" (its status is {status})"
    return f"it must be one of view.running, or None{ended}"


def _is_horizon(answer: Any, *_: Any) -> str | None:
    return None if _is_whole(answer) and answer >= 1 else "it must be a number of steps, 1 or more"


def _is_replica(answer: Any, request: Request, view: Any) -> str | None:
    if _is_whole(answer) and (0 <= answer < len(view.replicas) or answer in (HOLD, REFUSED)):
        return None
    return f"it must be an index from 0 to {len(view.replicas) - 1}, HOLD or REFUSED"


def _is_length(answer: Any, *_: Any) -> str | None:
    if _is_real(answer) and 0 < answer < math.inf:
        return None
    return "it must be a finite number of tokens above 0"


_CHECKS: dict[type, dict[str, Check]] = {
    SchedulingPolicy: {
        "rank": _is_number,
        "admits": _is_bool,
        "chunk": _is_share_of,
        "victim": _is_running,
        "horizon": _is_horizon,
        "wakes_at": _is_number,
    },
    CachePolicy: {"score": _is_number},
    RoutePolicy: {"choose": _is_replica},
    AdmitPolicy: {"decide": _is_bool},
    LengthPredictor: {"predict": _is_length},
}
