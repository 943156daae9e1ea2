"""Precision and recall of anomaly scores that credit what is a little early or late.

Following Paparrizos et al., "Volume under the surface" (VLDB 2022), section 4: labels get sloping shoulders of `buffer`
samples on both sides of every anomalous range, so that a detection close by earns part of the credit, and a range
counts as found by its best covered sample.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def soft_labels(labels: Flags, buffer: int) -> Floats:
    """1 within anomalous ranges, falling as sqrt(1 - distance / (buffer + 1)) beside them."""
    places = np.flatnonzero(labels)
    if not places.size:
        return np.zeros(len(labels))
    near = np.searchsorted(places, np.arange(len(labels)))
    after = places[np.minimum(near, places.size - 1)]
    before = places[np.maximum(near - 1, 0)]
    distance = np.minimum(np.abs(after - np.arange(len(labels))), np.abs(np.arange(len(labels)) - before))
    soft: Floats = np.sqrt(np.maximum(1.0 - distance / (buffer + 1), 0.0))
    return soft


def precision_recall(scores: Floats, labels: Flags, *, buffer: int) -> tuple[Floats, Floats]:
    """Precision and recall at every distinct score taken as threshold, from the strictest on.

    Recall is the share of ranges found, each by its best soft label above the threshold. Raises InputError when there
    is no anomaly or the lengths differ.
    """
    if scores.shape != labels.shape or not labels.any():
        raise InputError("scores and labels must be equally long, and something must be anomalous")
    soft = soft_labels(labels, buffer)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels.astype(int), [0]])))
    ranges = [
        (max(0, begin - buffer), end + buffer) for begin, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    precision, recall = [], []
    for threshold in np.unique(scores)[::-1]:
        flagged = scores >= threshold
        precision.append(float(soft[flagged].mean()))
        credit = [float((soft[begin:end] * flagged[begin:end]).max()) for begin, end in ranges]
        recall.append(float(np.mean(credit)))
    return np.array(precision), np.array(recall)


def average_precision(scores: Floats, labels: Flags, *, buffer: int) -> float:
    """Area under the curve of `precision_recall`, as a sum of precision over steps of recall."""
    precision, recall = precision_recall(scores, labels, buffer=buffer)
    best = np.maximum.accumulate(recall)
    steps = np.diff(np.concatenate([[0.0], best]))
    return float((precision * steps).sum())
