"""`python -m redisqueue_operator.cli`."""

import sys

from redisqueue_operator.cli import main

if __name__ == "__main__":
    sys.exit(main())
