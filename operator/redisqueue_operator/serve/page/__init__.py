"""A page to look at: what the operator knows of its queues, as HTML, read-only."""
