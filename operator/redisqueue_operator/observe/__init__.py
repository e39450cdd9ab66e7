"""What there is: the watches' cache, fresh lists, Redis. It reads and decides nothing."""
