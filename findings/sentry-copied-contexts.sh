#!/usr/bin/env bash
# sentry-sdk 2.75.0, CPython 3.11 to 3.13.
#
# A worker that gives each job a copy of its start-up context (contextvars.copy_context) does not isolate jobs from each
# other for Sentry: init() has put one mutable scope object into that context, every copy holds the same object, and a tag
# that one job sets is sent with the next job's errors. Each job needs sentry_sdk.isolation_scope() besides.
#
# Seen: a copy in which nobody set a tag has {"customer": "first"}; what is set inside isolation_scope() stays there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sentry-sdk==2.75.0
"$folder/venv/bin/python" - <<'PROGRAM'
import contextvars

import sentry_sdk

sentry_sdk.init(dsn=None)
start = contextvars.copy_context()


def tags():
    return dict(sentry_sdk.get_isolation_scope()._tags)


def isolated_tags():
    with sentry_sdk.isolation_scope():
        sentry_sdk.get_isolation_scope().clear()
        sentry_sdk.set_tag("customer", "second")
    return tags()


start.copy().run(sentry_sdk.set_tag, "customer", "first")
seen = start.copy().run(tags)
after_isolation = start.copy().run(isolated_tags)
print(f"sentry-sdk {sentry_sdk.VERSION}: another copy sees {seen}; after isolation_scope() elsewhere {after_isolation}")
assert seen == {"customer": "first"}, "copies of a context are isolated now"
assert after_isolation == {"customer": "first"}, "isolation_scope() leaks now"
PROGRAM
