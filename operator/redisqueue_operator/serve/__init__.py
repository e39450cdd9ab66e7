"""What the operator tells over HTTP: probes and metrics."""
