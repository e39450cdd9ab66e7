#!/usr/bin/env bash
# redis-py 8.1.0 (redis.asyncio), CPython 3.11 to 3.13, Linux; OpenSSL's command for a certificate.
#
# `await client.aclose()` is to be the end of a client's connections. A command that is cancelled hangs up by itself, and
# does not wait until that is done; aclose() then takes the connection for closed, and waits neither. Without TLS the
# socket is closed in the next turn of the loop. Over TLS asyncio first waits for the server's good-bye: with a server that
# is busy for a moment the socket is open after aclose(), and a loop that ends then leaves it so: "unclosed transport".
#
# Seen: after a cancelled GET and aclose(): plain: closed; TLS: open, and one ResourceWarning of an unclosed transport.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check redis==8.1.0
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 2 -subj /CN=localhost 2>openssl.log
cat >program.py <<'PROGRAM'
import asyncio
import gc
import ssl
import sys
import threading
import time
import warnings

import redis.asyncio

scheme = sys.argv[1]
over = threading.Event()


async def answer(reader, writer):
    """Say OK to everything; at GET be busy instead."""
    while line := await reader.readline():
        words = []
        for _ in range(int(line[1:])):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
        if words[0] == b"GET":
            over.wait(30)
        else:
            writer.write(b"+OK\r\n")


def serve(ports, ready):
    async def main():
        context = None
        if scheme == "rediss":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain("certificate.pem", "key.pem")
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    asyncio.run(main())


async def main(port):
    options = {"ssl_cert_reqs": "none", "ssl_check_hostname": False} if scheme == "rediss" else {}
    client = redis.asyncio.Redis.from_url(f"{scheme}://127.0.0.1:{port}", protocol=2, **options)
    await client.set("a", 1)
    (connection,) = client.connection_pool._available_connections
    socket = connection._writer.get_extra_info("socket")
    command = asyncio.create_task(client.get("a"))
    while connection not in client.connection_pool._in_use_connections:
        await asyncio.sleep(0)
    await asyncio.sleep(0.3)  # until the server has it
    command.cancel()
    await asyncio.wait([command])
    await client.aclose()
    print("open" if socket.fileno() != -1 else "closed")


ports, ready = [], threading.Event()
threading.Thread(target=serve, args=(ports, ready), daemon=True).start()
ready.wait()
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    asyncio.run(main(ports[0]))
    gc.collect()
print("unclosed transports:", sum("unclosed transport" in str(each.message) for each in told))
over.set()
time.sleep(0.1)
PROGRAM
seen=$(for scheme in redis rediss; do echo "$scheme: $(venv/bin/python program.py $scheme | paste -sd,)"; done)
echo "$seen"
[ "$seen" = "redis: closed,unclosed transports: 0
rediss: open,unclosed transports: 1" ]
