#!/usr/bin/env bash
# hypothesis 6.170.17.
#
# `derandomize=True` is there so that a test tries the same examples in each run. It does so only as long as the same
# modules of the project are imported: Hypothesis reads the constants of those and tries them as values, so importing
# one more module (a longer selection of tests, a changed literal anywhere) gives a derandomized test other examples.
# A failure may come with a change that has nothing to do with it, or not come back when its file is run alone.
#
# Seen: 200 integers, the same in two runs alike; others as soon as a neighbour with one constant was imported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hypothesis==6.170.17
cat >"$folder/look.py" <<'PROGRAM'
import hashlib
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

if sys.argv[1] == "both":
    import neighbour  # noqa: F401

tried = []


@settings(derandomize=True, max_examples=200, database=None)
@given(st.integers())
def look(number):
    tried.append(number)


look()
print(hashlib.sha256(repr(tried).encode()).hexdigest())
PROGRAM
echo "ANSWER = 918273645" >"$folder/neighbour.py"
run() { (cd "$folder" && venv/bin/python look.py "$1"); }
alone=$(run alone) again=$(run alone) both=$(run both)
[ "$alone" = "$again" ] || { echo "two equal runs tried different numbers"; exit 1; }
[ "$alone" != "$both" ] || { echo "the neighbour's constant makes no difference any more"; exit 1; }
echo "the same numbers in equal runs, others with a neighbour imported"
