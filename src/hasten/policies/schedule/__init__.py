"""Who goes next, how many tokens, who is evicted."""
