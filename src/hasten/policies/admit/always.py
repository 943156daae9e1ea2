"""Everybody enters."""

from dataclasses import dataclass

from hasten.core.policy import AdmitPolicy


@dataclass
class Always(AdmitPolicy):
    """Accept every request, however long it will wait.

    Paper: none; what the engines do.
    Differs: nothing.
    Needs: nothing.
    Use when: turning requests away is not an option, or the load is known to be low.
    Avoid when: load can exceed capacity and late answers are worthless: then slo_gate.
    """
