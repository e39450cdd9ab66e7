"""Local mode: the same resource and the same engine on worker processes of this machine."""
