"""Everybody enters."""

from dataclasses import dataclass

from hasten.core.policy import AdmitPolicy


@dataclass
class Always(AdmitPolicy):
    """Accept every request, however long it will wait.

    Paper: none; what the engines do.
    Differs: nothing.
    Needs: nothing.
    """
