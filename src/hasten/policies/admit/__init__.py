"""Whether a request may enter at all."""
