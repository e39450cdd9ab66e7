"""Commands that ask a cluster, by kubectl."""
