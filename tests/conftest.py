"""Settings for every test: examples are not timed one by one, as other work may share the machine."""

from hypothesis import settings

settings.register_profile("hasten", deadline=None)
settings.load_profile("hasten")
