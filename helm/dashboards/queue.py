"""The dashboard of one RedisQueue."""

from __future__ import annotations

from helm.dashboards.expressions import ONE, quantiles, rate
from helm.dashboards.panels import (
    BYTES,
    COUNT,
    RATE,
    SECONDS,
    WIDTH,
    Graph,
    Line,
    Number,
    blank,
    filled,
    number_panel,
    variable,
)


def one(metric: str, legend: str) -> Line:
    """What the operator says of the queue."""
    return Line(f"max({metric}{{{ONE}}})", legend)


NUMBERS = (
    Number("Waiting", "Messages that wait for a worker.", COUNT, f"max(redisqueue_queue_pending{{{ONE}}})"),
    Number(
        "Oldest",
        "How long the message that waits longest has waited.",
        SECONDS,
        f"max(redisqueue_queue_oldest_age_seconds{{{ONE}}})",
    ),
    Number(
        "Empty in",
        "At these rates; no value while the backlog does not shrink.",
        SECONDS,
        f"max(redisqueue_queue_eta_seconds{{{ONE}}})",
    ),
    Number("In flight", "Messages under a lease.", COUNT, f"max(redisqueue_queue_in_flight{{{ONE}}})"),
    Number("Workers ready", "Of those that are wanted.", COUNT, f"max(redisqueue_workers_ready{{{ONE}}})"),
    Number(
        "Dead letters",
        "Messages that were given up.",
        COUNT,
        f"max(redisqueue_queue_dead_letter{{{ONE}}})",
        red_from=1,
    ),
    Number(
        "Orphaned",
        "Messages in processing without a lease: redisqueue repair.",
        COUNT,
        f"max(redisqueue_queue_orphaned{{{ONE}}})",
        red_from=1,
    ),
    Number(
        "Ready",
        "1 while the spec is in force, the queue is read and its workers can work.",
        COUNT,
        f'max(redisqueue_condition{{{ONE}, type="Ready"}})',
        green_from=1,
    ),
)
ROWS = {
    "Backlog and workers": (
        Graph(
            "Messages",
            "Where they are.",
            COUNT,
            (
                one("redisqueue_queue_pending", "waiting"),
                one("redisqueue_queue_delayed_due", "due"),
                one("redisqueue_queue_in_flight", "in flight"),
                one("redisqueue_queue_delayed", "delayed"),
            ),
        ),
        Graph(
            "Messages a second",
            "What comes, and what workers take, as Redis counts.",
            RATE,
            (
                one("redisqueue_queue_arrivals_per_second", "arrivals"),
                one("redisqueue_queue_claims_per_second", "claims"),
            ),
        ),
        Graph(
            "Workers",
            "What is wanted, within what bounds, and what there is.",
            COUNT,
            tuple(
                one(f"redisqueue_workers_{name}", name)
                for name in ("max", "desired", "ready", "busy", "draining", "min")
            ),
        ),
        Graph(
            "Age and time to go",
            "Of the message that waits longest; until the queue is empty.",
            SECONDS,
            (
                one("redisqueue_queue_oldest_age_seconds", "oldest"),
                one("redisqueue_queue_eta_seconds", "empty in"),
            ),
        ),
    ),
    "Handlers": (
        Graph(
            "Outcomes",
            "Messages settled a second.",
            RATE,
            (Line(rate("redisqueue_worker_messages_total", ONE, "outcome"), "{{outcome}}"),),
            stacked=True,
        ),
        Graph(
            "Time in the handler",
            "Of each call, however it ended.",
            SECONDS,
            quantiles("redisqueue_worker_handler_seconds", ONE),
        ),
        Graph(
            "Time in the queue",
            "From publication to the first claim, of messages whose producer stamped them.",
            SECONDS,
            quantiles("redisqueue_worker_queue_wait_seconds", ONE),
        ),
        Graph(
            "Slots",
            "Of all workers: how many there are, and how many messages they hold.",
            COUNT,
            (
                Line(f"sum(redisqueue_worker_slots{{{ONE}}})", "slots"),
                Line(f"sum(redisqueue_worker_in_flight{{{ONE}}})", "in flight"),
            ),
        ),
        Graph(
            "Trouble",
            "What should be nothing.",
            RATE,
            (
                Line(
                    f"sum(rate(redisqueue_worker_handler_timeouts_total{{{ONE}}}[$__rate_interval]))",
                    "timeouts",
                ),
                Line(
                    f"sum(rate(redisqueue_worker_handlers_abandoned_total{{{ONE}}}[$__rate_interval]))",
                    "abandoned",
                ),
                Line(
                    f"sum(rate(redisqueue_worker_redeliveries_total{{{ONE}}}[$__rate_interval]))",
                    "redeliveries",
                ),
                Line(
                    f"sum(rate(redisqueue_worker_redis_errors_total{{{ONE}}}[$__rate_interval]))",
                    "Redis errors",
                ),
                Line(
                    f"sum(rate(redisqueue_worker_circuit_openings_total{{{ONE}}}[$__rate_interval]))",
                    "breaker opens",
                ),
            ),
        ),
        Graph(
            "Lease renewals",
            "By result: lost and error lead to messages that are handled twice.",
            RATE,
            (Line(rate("redisqueue_worker_lease_renewals_total", ONE, "result"), "{{result}}"),),
        ),
    ),
    "Worker processes": (
        Graph(
            "Memory",
            "Of each worker.",
            BYTES,
            (Line(f"process_resident_memory_bytes{{{ONE}}}", "{{pod}}"),),
        ),
        Graph(
            "Processor time",
            "A second, of each worker: 1 is a whole core.",
            COUNT,
            (Line(f"rate(process_cpu_seconds_total{{{ONE}}}[$__rate_interval])", "{{pod}}"),),
        ),
        Graph(
            "Drains",
            "How long workers that leave have taken.",
            SECONDS,
            (Line(f"redisqueue_worker_drain_seconds{{{ONE}}} > 0", "{{pod}}"),),
        ),
        Graph(
            "Versions",
            "Workers by the version of RedisQueue.",
            COUNT,
            (Line(f"count by (version) (redisqueue_worker_build_info{{{ONE}}})", "{{version}}"),),
            stacked=True,
        ),
    ),
}


def rendered() -> str:
    """Its JSON."""
    queue = blank(
        "RedisQueue queue", "redisqueue-queue", "One RedisQueue: its backlog, its workers, its handlers."
    )
    queue = queue.with_variable(variable("namespace", "")).with_variable(
        variable("name", '{namespace="$namespace"}')
    )
    for number in NUMBERS:
        queue = queue.with_panel(number_panel(number, WIDTH // len(NUMBERS)))
    return filled(queue, ROWS)
