"""Settings for every test. `pytest --hypothesis-profile=thorough` looks fifty times as hard for a counterexample."""

from hypothesis import settings

settings.register_profile("hasten", deadline=None)  # other work may share the machine: examples are not timed
settings.register_profile("thorough", deadline=None, max_examples=5_000)
settings.load_profile("hasten")
