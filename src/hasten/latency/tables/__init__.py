"""Step times from measured tables: layer profiles and operator tables, packed in `data/`."""

from hasten.latency.tables.layers import LayerProfile, find_profile, profile_paths
from hasten.latency.tables.model import TableModel, why_not
from hasten.latency.tables.operators import OperatorTables, find_operators, operator_paths

__all__ = [
    "LayerProfile",
    "OperatorTables",
    "TableModel",
    "find_operators",
    "find_profile",
    "operator_paths",
    "profile_paths",
    "why_not",
]
