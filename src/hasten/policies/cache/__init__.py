"""Which cached KV blocks stay."""
