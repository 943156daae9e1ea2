"""What real serving engines do by default, by version, as data files with a few small named rules."""

from hasten.profiles.limits import EngineLimits
from hasten.profiles.profile import EngineProfile, load_profile, profile_names
from hasten.profiles.rules import DefaultRule, GraphRange, default_for

__all__ = [
    "DefaultRule",
    "EngineLimits",
    "EngineProfile",
    "GraphRange",
    "default_for",
    "load_profile",
    "profile_names",
]
