"""The wall-clock driver: the same core as the simulator, with a model that really runs."""
