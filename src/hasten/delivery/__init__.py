"""From a plan to files that people can run: start commands, manifests, a benchmark around the predicted point.

`engines/` holds one file per engine (its command line), `targets/` one per kind of file; both are found by folder.
"""

from hasten.delivery.offer import Offer, Pool
from hasten.delivery.writing import files_of, write

__all__ = ["Offer", "Pool", "files_of", "write"]
