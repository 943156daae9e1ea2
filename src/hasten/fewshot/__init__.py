"""Predictions for devices nobody has measured, from a few samples and the devices that were."""
