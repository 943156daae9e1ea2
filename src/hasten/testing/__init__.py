"""Conformance laws for policies, yours included: `check_policy(MyPolicy())`, in a test or at the prompt.

The laws run over random small workloads, chosen to hurt: KV pools that force preemption, shared prefixes, several
replicas, requests with and without limits, chunked and unchunked prompts, synchronous and asynchronous engines.
"""

from hasten.testing.books import check_books
from hasten.testing.broken import LawBroken
from hasten.testing.cases import Call, Case, random_case
from hasten.testing.check import Checked, Law, check_policy
from hasten.testing.runs import Outcome, play

__all__ = [
    "Call",
    "Case",
    "Checked",
    "Law",
    "LawBroken",
    "Outcome",
    "check_books",
    "check_policy",
    "play",
    "random_case",
]
