"""The sans-I/O serving core: queues, KV blocks, the books. No clock, randomness, sockets or tensors."""
