"""Predict, simulate, explain, plan and cut the latency of AI inference, on one clock."""
