"""From request records to latency, throughput, goodput and cost: one definition of every figure."""
