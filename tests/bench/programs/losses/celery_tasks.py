"""celery; its worker is `celery -A celery_tasks worker`."""

import celery
from book import DRAIN_SECONDS, URL, handle

app = celery.Celery("bench", broker=URL)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={
        "visibility_timeout": 30,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_soft_shutdown_timeout=DRAIN_SECONDS,
)
task = app.task(handle, name="handle")


def enqueue(messages: list[str]) -> None:
    """Send them."""
    for message in messages:
        task.apply_async((message,), task_id=message)
