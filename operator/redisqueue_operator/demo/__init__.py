"""The demonstration: the standard library's own files as messages, on this machine or on a cluster."""
