"""Commands on files, and what needs neither a Redis nor a cluster."""
