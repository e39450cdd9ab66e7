#!/usr/bin/env bash
# redis-py 8.1.0, CPython 3.11 to 3.13.
#
# The client of `redis` makes a new SSLContext each time it connects, by ssl.create_default_context(), which reads all
# authorities of the machine, also where ssl_ca_certs names the only one that is wanted: ten connects, ten contexts, and
# about 18 ms of processor time each where the machine has some 140 authorities, more than all the rest of a connect. One
# that is lost and comes back pays it again. The client of `redis.asyncio` makes one for each connection object and keeps
# it while that reconnects. Neither takes an SSLContext of the caller's.
#
# So a pool that opens its connections at once, or a process that lives for one message, spends its start there.
#
# Seen: sync: 10 connects, 10 contexts; asyncio: 10 connects, 1 context.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$folder/key" -out "$folder/cert" -days 2 -subj /CN=localhost \
  -addext subjectAltName=IP:127.0.0.1 2>/dev/null
cat >"$folder/count.py" <<'PROGRAM'
import asyncio
import socketserver
import ssl
import sys
import threading

import redis
import redis.asyncio

CONNECTS = 10
folder = sys.argv[1]
own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
own.load_cert_chain(folder + "/cert", folder + "/key")


class Answers(socketserver.StreamRequestHandler):
    """Says OK to each command: an array of strings, each after its length."""

    def setup(self):
        self.request = own.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self):
        while head := self.rfile.readline():
            for _ in range(2 * int(head[1:])):
                self.rfile.readline()
            self.wfile.write(b"+OK\r\n")


server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_address[1]

made = []
create = ssl.create_default_context


def counting(*arguments, **named):
    made.append(1)
    return create(*arguments, **named)


ssl.create_default_context = counting
settings = dict(host="127.0.0.1", port=port, protocol=2, ssl_ca_certs=folder + "/cert")

connection = redis.SSLConnection(**settings)
for _ in range(CONNECTS):
    connection.connect()
    connection.disconnect()
sync, made[:] = len(made), []


async def again():
    connection = redis.asyncio.SSLConnection(**settings)
    for _ in range(CONNECTS):
        await connection.connect()
        await connection.disconnect()


asyncio.run(again())
print(f"sync: {CONNECTS} connects, {sync} contexts; asyncio: {CONNECTS} connects, {len(made)} context")
server.shutdown()
sys.exit((sync, len(made)) != (CONNECTS, 1))
PROGRAM
timeout 60 "$folder/venv/bin/python" "$folder/count.py" "$folder"
