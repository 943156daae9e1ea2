"""The virtual-time driver: the same core as the engine, at the speed of arithmetic."""
