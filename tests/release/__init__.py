"""What a release is made of, and the checks before one: `python -m tests.release check`."""
