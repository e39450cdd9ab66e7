"""What was decided becomes writes. It decides nothing."""
