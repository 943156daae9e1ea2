"""Step times from measured tables: layer profiles and operator tables, packed in `data/`."""

from hasten.latency.tables.layers import LayerProfile, find_profile, profile_paths
from hasten.latency.tables.model import TableModel, why_not

__all__ = ["LayerProfile", "TableModel", "find_profile", "profile_paths", "why_not"]
