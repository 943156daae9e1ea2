"""How long the answer will be."""
