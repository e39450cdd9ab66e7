"""A message queue on Redis lists: deduplicated publish, leases, dead letters, drain."""
