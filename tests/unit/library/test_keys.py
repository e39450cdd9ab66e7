"""Key names are a wire contract: they are spelled out here, not computed."""

from __future__ import annotations

import pytest

from redis_message_queue.keys import QueueKeys


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("pending", "jobs::pending"),
        ("processing", "jobs::processing"),
        ("completed", "jobs::completed"),
        ("failed", "jobs::failed"),
        ("dead_letter", "jobs::dlq"),
        ("dead_letter_info", "jobs::dlq_info"),
        ("failed_info", "jobs::failed_info"),
        ("completed_info", "jobs::completed_info"),
        ("delayed", "jobs::delayed"),
        ("workers", "jobs::workers"),
        ("deduplication_prefix", "jobs::deduplication::"),
        ("lease_deadlines", "jobs::processing:lease_deadlines"),
        ("lease_tokens", "jobs::processing:lease_tokens"),
        ("lease_token_counter", "jobs::processing:lease_token_counter"),
        ("delivery_counts", "jobs::processing:delivery_counts"),
        ("claim_result_refs", "jobs::processing:claim_result_refs"),
        ("claim_result_ids", "jobs::processing:claim_result_ids"),
        ("claim_result_backrefs", "jobs::processing:claim_result_backrefs"),
    ],
)
def test_name_of_each_key(attribute: str, expected: str) -> None:
    assert getattr(QueueKeys("jobs"), attribute) == expected


def test_keys_that_carry_an_id() -> None:
    keys = QueueKeys("jobs")
    assert keys.claim_result("c") == "jobs::processing:claim_result:c"
    assert keys.deduplication("x") == "jobs::deduplication::x"
    assert keys.leases.operation_result("7:o") == "jobs::processing:operation_result:7:o"


def test_separator_applies_to_the_queue_name_only() -> None:
    keys = QueueKeys("jobs", "/")
    assert keys.pending == "jobs/pending"
    assert keys.lease_tokens == "jobs/processing:lease_tokens"
