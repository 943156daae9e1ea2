"""Options that several commands share, each declared once: the same noun is the same flag everywhere."""
