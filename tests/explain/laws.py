"""The sum law, for whatever was attributed."""

import numpy as np

from hasten.explain.attribution import METRICS, Attribution
from hasten.explain.labels import ORDER

# A jump keeps the reason of its first step; in its midst another door may close behind the one that is shut.
DOORS = (
    ["queue_routing", "queue_slots", "queue_memory", "queue_reservation", "queue_policy"],
    ["decode_pool_routing", "decode_pool_memory", "decode_pool_policy"],
)


def check_sums(found: Attribution) -> None:
    """Labels are the latency to 1e-9, and nothing is negative."""
    for metric in METRICS:
        latency, labels = found.latency(metric), found.labels(metric)
        known = ~np.isnan(latency)
        np.testing.assert_allclose(labels.sum(axis=1)[known], latency[known], rtol=1e-9, atol=1e-12)
    assert (found.to_first >= -1e-12).all()
    assert (found.after_first >= -1e-12).all()


def check_equal(found: Attribution, stepped: Attribution) -> None:
    """Jumps are attributed in closed form: label by label what single steps come to."""
    order = [np.argsort(each.records.id) for each in (found, stepped)]
    for mine, other in ((found.to_first, stepped.to_first), (found.after_first, stepped.after_first)):
        mine, other = mine[order[0]], other[order[1]]
        for labels in (mine, other):
            for names in DOORS:
                doors = [ORDER[name] for name in names]
                labels[:, doors[0]] = labels[:, doors].sum(axis=1)
                labels[:, doors[1:]] = 0.0
        np.testing.assert_allclose(mine, other, rtol=1e-7, atol=1e-9)
