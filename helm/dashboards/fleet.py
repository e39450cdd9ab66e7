"""The dashboard of all RedisQueues, and of the operators that serve them."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from helm.dashboards.expressions import ALL, most, quantiles, rate
from helm.dashboards.panels import (
    COUNT,
    QUEUE,
    RATE,
    RATIO,
    SECONDS,
    WIDTH,
    Column,
    Graph,
    Line,
    Number,
    blank,
    condition_table,
    filled,
    number_panel,
    queue_table,
    variable,
)

FAILED = 'outcome=~"failed|dead|retry"'
NUMBERS = (
    Number("RedisQueues", "How many there are.", COUNT, f"count({most('redisqueue_workers_replicas')})"),
    Number("Waiting", "Messages that wait for a worker.", COUNT, f"sum({most('redisqueue_queue_pending')})"),
    Number(
        "Unknown",
        "RedisQueues of which no counters are known: that is not an empty queue.",
        COUNT,
        f"count({most('redisqueue_workers_replicas')}"
        f" unless {most('redisqueue_queue_pending')}) or vector(0)",
        red_from=1,
    ),
    Number("In flight", "Messages under a lease.", COUNT, f"sum({most('redisqueue_queue_in_flight')})"),
    Number("Workers ready", "Of all queues.", COUNT, f"sum({most('redisqueue_workers_ready')})"),
    Number(
        "Dead letters",
        "Messages that were given up.",
        COUNT,
        f"sum({most('redisqueue_queue_dead_letter')})",
        red_from=1,
    ),
    Number(
        "Alerts",
        "Alerts of RedisQueue that fire.",
        COUNT,
        'count(ALERTS{alertname=~"RedisQueue.+", alertstate="firing"}) or vector(0)',
        red_from=1,
    ),
    Number(
        "Leaders",
        "Operators that decide; each release has one.",
        COUNT,
        "sum(redisqueue_operator_leader) or vector(0)",
        green_from=1,
    ),
)
COLUMNS = (
    Column("Waiting", most("redisqueue_queue_pending")),
    Column("Oldest", most("redisqueue_queue_oldest_age_seconds"), SECONDS),
    Column("In flight", most("redisqueue_queue_in_flight")),
    Column("Arrivals", most("redisqueue_queue_arrivals_per_second"), RATE),
    Column("Claims", most("redisqueue_queue_claims_per_second"), RATE),
    Column("Wanted", most("redisqueue_workers_desired")),
    Column("Ready", most("redisqueue_workers_ready")),
    Column("Dead letters", most("redisqueue_queue_dead_letter")),
    Column("Works", most("redisqueue_condition", f'{ALL}, type="Ready"')),
)


def top(expression: str) -> tuple[Line, ...]:
    """The ten queues that have most of it."""
    return (Line(f"topk(10, {expression})", QUEUE),)


def of_budget(what: str) -> tuple[Line, ...]:
    """The ten budgets with the largest part of what they have."""
    part, whole = (
        f"max by (namespace, name, resource) (redisqueue_budget_{each}{{{ALL}}})" for each in (what, "limit")
    )
    return (Line(f"topk(10, {part} / {whole})", f"{QUEUE} {{{{resource}}}}"),)


ROWS = {
    "Queues": (
        Graph(
            "Waiting",
            "The ten longest queues.",
            COUNT,
            top(most("redisqueue_queue_pending")),
            stacked=True,
        ),
        Graph(
            "Oldest message",
            "How long the message that waits longest has waited.",
            SECONDS,
            top(most("redisqueue_queue_oldest_age_seconds")),
        ),
        Graph(
            "Messages a second",
            "Of all queues: what comes, and what workers take.",
            RATE,
            (
                Line(f"sum({most('redisqueue_queue_arrivals_per_second')})", "arrivals"),
                Line(f"sum({most('redisqueue_queue_claims_per_second')})", "claims"),
            ),
        ),
        Graph("Workers", "Ready, by queue.", COUNT, top(most("redisqueue_workers_ready")), stacked=True),
        Graph(
            "Failures",
            "The share of deliveries that failed or were put off; as the workers tell.",
            RATIO,
            top(
                f"{rate('redisqueue_worker_messages_total', f'{ALL}, {FAILED}', 'namespace, name')}"
                f" / {rate('redisqueue_worker_messages_total', ALL, 'namespace, name')}"
            ),
        ),
        Graph(
            "Dead letters",
            "What was given up and not yet brought back.",
            COUNT,
            top(f"{most('redisqueue_queue_dead_letter')} > 0"),
        ),
    ),
    "Budgets and schedules": (
        Graph(
            "Budgets in use",
            "The part of each RedisQueueBudget that its queues have, by what it limits.",
            RATIO,
            of_budget("used"),
        ),
        Graph(
            "Budgets asked for",
            "What its queues would have without it: above 100% some of them wait.",
            RATIO,
            of_budget("asked"),
        ),
        Graph(
            "Ticks of schedules",
            "Messages that RedisQueueSchedules have enqueued, and ticks that were too late.",
            RATE,
            (Line(rate("redisqueue_schedule_ticks_total", ALL, "outcome"), "{{outcome}}"),),
        ),
    ),
    "Operator": (
        Graph(
            "Reconciles",
            "Looks at RedisQueues, by how they ended. A conflict is repeated at once.",
            RATE,
            (
                Line(
                    "sum by (outcome) (rate(redisqueue_operator_reconciles_total[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ),
        ),
        Graph(
            "Time of one reconcile",
            "With all calls to the API server.",
            SECONDS,
            quantiles("redisqueue_operator_reconcile_seconds", ""),
        ),
        Graph(
            "Reaction",
            "From the sample that showed a need to the written number of workers.",
            SECONDS,
            quantiles("redisqueue_operator_reaction_seconds", ""),
        ),
        Graph(
            "Samples of Redis",
            "All queues of one Redis in one go.",
            SECONDS,
            quantiles("redisqueue_operator_sample_seconds", ""),
        ),
        Graph(
            "Calls to the API server",
            "By status code; 0 is no answer.",
            RATE,
            (
                Line(
                    "sum by (code) (rate(redisqueue_operator_api_calls_total[$__rate_interval]))", "{{code}}"
                ),
            ),
            stacked=True,
        ),
        Graph(
            "Ages",
            "Since the control loop moved, a resync and a sample were tried; /livez judges these.",
            SECONDS,
            (Line("max by (of) (redisqueue_operator_age_seconds)", "{{of}}"),),
        ),
    ),
}
NOT_AS_WISHED = f"max by (namespace, name, type, reason) (redisqueue_condition_reason{{{ALL}}})"


def rendered() -> str:
    """Its JSON."""
    fleet = blank(
        "RedisQueue fleet",
        "redisqueue-fleet",
        "All RedisQueues of a Prometheus, and the operators that serve them.",
    ).with_variable(variable("namespace", "", all_of_them=True))
    for number in NUMBERS:
        fleet = fleet.with_panel(number_panel(number, WIDTH // len(NUMBERS)))
    fleet = fleet.with_row(dashboard.Row("RedisQueues")).with_panel(queue_table(COLUMNS))
    fleet = fleet.with_panel(condition_table(NOT_AS_WISHED))
    return filled(fleet, ROWS)
