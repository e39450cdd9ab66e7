"""rq; a worker handles one job at a time, so `python rq_tasks.py COUNT …` runs so many with these options."""

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import redis
import rq
from book import URL, handle


def enqueue(messages: list[str]) -> None:
    """Send them; a job without `retry` is put aside as failed when its worker dies."""
    queue = rq.Queue("bench", connection=redis.Redis.from_url(URL))
    for message in messages:
        queue.enqueue(handle, message, job_id=message, retry=rq.Retry(max=5))


def main() -> None:
    """Run the workers; SIGTERM is for each of them."""
    count, *options = sys.argv[1:]
    program = str(Path(sys.executable).with_name("rq"))
    workers = [subprocess.Popen([program, "worker", "--url", URL, *options]) for _ in range(int(count))]

    def stop(_number: int, _frame: FrameType | None) -> None:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for worker in workers:
        worker.wait()


if __name__ == "__main__":
    main()
