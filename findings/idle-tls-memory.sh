#!/usr/bin/env bash
# aiohttp 3.14.5, CPython 3.11 to 3.13, Linux.
#
# Each TLS connection of asyncio holds a read buffer of 256 KiB from its first moment to its last, idle or not. A client
# that keeps one watch a kind and namespace open, as Kubernetes operators do, pays about 290 KiB for each: 2,500 of them
# were 0.9 GiB. The size is asyncio.sslproto.SSLProtocol.max_size, no argument of anything; with 32 KiB an idle connection
# cost about a quarter.
#
# Seen: 292 KiB for each of 100 idle connections; 72 KiB with max_size 32 KiB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aiohttp==3.14.5
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$folder/key" -out "$folder/cert" -days 2 -subj /CN=localhost 2>/dev/null
cat >"$folder/server.py" <<'PROGRAM'
import asyncio
import ssl
import sys


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[1] + "/cert", sys.argv[1] + "/key")

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(60)


asyncio.run(main())
PROGRAM
cat >"$folder/client.py" <<'PROGRAM'
import asyncio
import asyncio.sslproto
import ssl
import subprocess
import sys

import aiohttp

CONNECTIONS = 100
folder, buffer = sys.argv[1], int(sys.argv[2])
if buffer:
    asyncio.sslproto.SSLProtocol.max_size = buffer


def resident_kib():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


async def main():
    server = subprocess.Popen([sys.executable, folder + "/server.py", folder], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        context = ssl.create_default_context(cafile=folder + "/cert")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=context)) as session:
            watches = [await session.get(f"https://localhost:{port}/") for _ in range(10)]
            before = resident_kib()
            watches += [await session.get(f"https://localhost:{port}/") for _ in range(CONNECTIONS)]
            print(round((resident_kib() - before) / CONNECTIONS))
            for watch in watches:
                watch.close()
    finally:
        server.kill()
        server.wait()


asyncio.run(main())
PROGRAM
usual=$("$folder/venv/bin/python" "$folder/client.py" "$folder" 0)
small=$("$folder/venv/bin/python" "$folder/client.py" "$folder" 32768)
echo "aiohttp 3.14.5: $usual KiB for an idle TLS connection, $small KiB with a read buffer of 32 KiB"
[ "$usual" -gt 240 ] && [ "$small" -lt $((usual / 2)) ]
