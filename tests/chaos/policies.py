"""What the API server is told to refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.cluster import Manifest

NAME = "chaos-refuses"


def refusal(namespace: str) -> tuple[Manifest, Manifest]:
    """A policy and its binding: no account of that namespace may change `/scale`, nor a pod."""
    what = (("apps", "deployments/scale"), ("", "pods"))
    rules = [
        {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": [name]}
        for group, name in what
    ]
    whose = f"request.userInfo.username.startsWith('system:serviceaccount:{namespace}:')"
    about = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": NAME}}
    policy = {
        **about,
        "kind": "ValidatingAdmissionPolicy",
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": rules},
            "matchConditions": [{"name": "whose", "expression": whose}],
            "validations": [{"expression": "false", "message": "not now"}],
        },
    }
    binding = {
        **about,
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": NAME, "validationActions": ["Deny"]},
    }
    return policy, binding
