"""Step-time models: from model shape, parallelism and step to seconds with a breakdown."""
