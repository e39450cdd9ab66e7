#!/usr/bin/env bash
# freezegun 1.5.5, CPython 3.11 to 3.13.
#
# freeze_time stops time.monotonic() too, but not for everybody: whether a call is frozen is decided by the modules on the
# caller's stack, and `threading` is on the list of those to leave alone. So one and the same function measures nothing on
# the main thread and the real time in a new thread, as long as `threading` is near on its stack. A deadline that one
# thread takes and another one checks mixes two clocks, whichever of them the library under test meant.
#
# Seen: 0.00 s on the main thread, 0.20 s in a thread, 0.00 s in a thread ten calls deeper.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check freezegun==1.5.5
"$folder/venv/bin/python" - <<'PROGRAM'
import threading
import time
from importlib.metadata import version

import freezegun


def waited(depth):
    if depth:
        return waited(depth - 1)
    began = time.monotonic()
    threading.Event().wait(0.2)
    return time.monotonic() - began


def in_thread(depth):
    found = []
    thread = threading.Thread(target=lambda: found.append(waited(depth)))
    thread.start()
    thread.join()
    return found[0]


with freezegun.freeze_time("2030-01-01"):
    main, shallow, deep = waited(0), in_thread(0), in_thread(10)
print(f"freezegun {version('freezegun')}: main thread {main:.2f} s, thread {shallow:.2f} s, deeper in a thread {deep:.2f} s")
assert main == 0, "the main thread is not frozen any more"
assert shallow >= 0.15, "a thread is frozen now"
assert deep == 0, "a deep stack is not frozen any more"
PROGRAM
