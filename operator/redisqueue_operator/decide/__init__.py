"""What shall be: pure functions of what was observed, what is remembered and the time."""
