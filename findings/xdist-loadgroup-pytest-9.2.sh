#!/usr/bin/env bash
# pytest 9.2.0, pytest-xdist 3.8.0.
#
# `--dist loadgroup` promises that all tests marked with one xdist_group run in the same process. pytest-xdist carries the
# group as a suffix that it writes into an attribute of each test, from which pytest 9.2 takes the name no more. The suffix
# is lost without a word, the groups with it, and tests that share something run in several processes at once. With
# pytest 9.1.1 the groups hold; `--dist loadfile` holds with both.
#
# Seen: 40 tests of one group ran in 1 process under 9.1.1, in 2 under 9.2.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/tests"
cat >"$folder/tests/test_group.py" <<'PROGRAM'
import os
import time

import pytest


@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(40))
def test_together(number):
    with open(os.environ["SEEN"], "a") as file:
        file.write(f"{os.environ['PYTEST_XDIST_WORKER']}\n")
    time.sleep(0.02)
PROGRAM
processes() { # pytest's version -> how many processes ran the tests of the one group
  "${PYTHON:-python3}" -m venv "$folder/$1"
  "$folder/$1/bin/pip" install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
  SEEN="$folder/seen-$1" "$folder/$1/bin/pytest" -q -p no:cacheprovider -n 2 --dist loadgroup "$folder/tests" >/dev/null
  sort -u "$folder/seen-$1" | wc -l
}
before=$(processes 9.1.1)
now=$(processes 9.2.0)
echo "processes for one group: $before with pytest 9.1.1, $now with pytest 9.2.0"
[ "$before" = 1 ] || { echo "the groups did not hold with 9.1.1"; exit 1; }
[ "$now" = 2 ] || { echo "the groups hold with 9.2.0"; exit 1; }
