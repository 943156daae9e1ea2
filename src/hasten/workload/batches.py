"""Traces whose clock ticks slower than requests arrive."""

import numpy as np

from hasten.workload.streams import stream
from hasten.workload.workload import Workload

_MIN_ROWS = 20
_MIN_WINDOW = 1.0  # seconds


def spread_batches(workload: Workload, *, seed: int = 0) -> Workload:
    """Spread requests that share a logged time uniformly over the time to the next tick, keeping their order.

    Applies to workloads of 20 rows or more in which most rows share their time with another and ticks are 1 s
    or more apart (median); any other workload is returned as it is. After a pause the window is the median tick,
    not the pause. The origin says that it was done, with the window in seconds.
    """
    ticks, counts = np.unique(workload.arrival, return_counts=True)
    if len(workload) < _MIN_ROWS or len(ticks) < 2 or 2 * len(ticks) > len(workload):
        return workload
    gaps = np.diff(ticks)
    usual = float(np.median(gaps))
    if usual < _MIN_WINDOW:
        return workload
    window = np.append(np.minimum(gaps, usual), usual)
    batch = np.repeat(np.arange(len(ticks)), counts)
    share = stream(seed, "batches").random(len(workload))
    share = share[np.lexsort((share, batch))]  # sorted within each batch: rows keep their order
    arrival = workload.arrival + share * window[batch]
    arrival = np.maximum.accumulate(arrival - arrival[0])
    return workload.replaced(
        arrival=arrival,
        note=f"{len(ticks)} batches of equal times spread uniformly over {usual:.3g} s each (seed {seed})",
    )
