"""`redisqueue support-bundle`: one file with what is needed to look at a trouble from afar, without secrets.

RedisQueues, their redrives, budgets and schedules, their Deployments, pods and Events, the operator's log,
metrics and decisions, and all versions. No Secret and no message is in it; values of variables, arguments,
annotations, options of volumes and the last words of containers are taken out, there and wherever they come
again. What could not be read is named in the README.txt inside.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.bundle.collect import Collector
from redisqueue_operator.cli.commands.cluster.explain import PORT
from redisqueue_operator.cli.kubectl import Kubectl, add_cluster
from redisqueue_operator.cli.options import UserError, add_json, count

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.cli.options import Subcommands

LINES = 10_000


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("support-bundle", description=__doc__)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it (default: redisqueue-support-TIME.tar.gz in this folder)",
    )
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="the RedisQueues of all namespaces"
    )
    parser.add_argument(
        "--tail",
        type=count,
        default=LINES,
        metavar="N",
        help=f"lines of each operator's log (default: {LINES})",
    )
    parser.add_argument(
        "--operator-port", type=int, default=PORT, metavar="N", help=f"its HTTP port (default: {PORT})"
    )
    parser.add_argument(
        "--stats",
        action="store_true",
        help="also ask each queue's Redis for its numbers, with the login of its Secret",
    )
    add_json(parser, "an object: file, files (their names), missing (why, by what)")
    add_cluster(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Collect and write. Raises UserError when nothing could be read, or the file cannot be written."""
    now = datetime.now(UTC)
    file: Path = options.output or Path(f"redisqueue-support-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    kubectl = Kubectl(options)
    collector = Collector(
        kubectl, everywhere=options.all_namespaces, tail=options.tail, port=options.operator_port
    )
    bundle = collector.collect()
    if "redisqueues" in bundle.missing:
        raise UserError(f"RedisQueues cannot be read: {bundle.missing['redisqueues']}")
    if options.stats:
        found = bundle.objects["redisqueues"]
        bundle.objects["stats"] = [stats(options, item["metadata"], bundle.missing) for item in found]
    files = bundle.files()
    write(file, files, now)
    if options.json:
        print(json.dumps({"file": str(file), "files": sorted(files), "missing": bundle.missing}))
        return 0
    for name, why in bundle.missing.items():
        print(f"not in it: {name}: {why}")
    print(f"{file}: {len(files)} files; look it through before you send it")
    return 0


def stats(options: argparse.Namespace, metadata: dict[str, Any], missing: dict[str, str]) -> dict[str, Any]:
    """The numbers of one queue as its Redis tells them; the problem where it does not."""
    # Without --stats nobody needs a Redis client.
    import argparse  # noqa: PLC0415

    from redis import RedisError  # noqa: PLC0415
    from redis.exceptions import RedisClusterException  # noqa: PLC0415

    from redis_message_queue.stats import sample  # noqa: PLC0415
    from redisqueue_operator.cli.address import located  # noqa: PLC0415
    from redisqueue_operator.cli.commands.queues.stats import stats_of  # noqa: PLC0415

    name, namespace = metadata["name"], metadata["namespace"]
    where = argparse.Namespace(
        **{**vars(options), "namespace": namespace, "file": None, "redis_url": None, "key_separator": None}
    )
    try:
        with located(where, f"rq/{name}") as place, place.connect() as client:
            return {"namespace": namespace, **stats_of(name, sample(client, [place.keys])[0])}
    except (UserError, RedisError, RedisClusterException, OSError) as error:
        missing[f"stats of {namespace}/{name}"] = str(error)
        return {"namespace": namespace, "queue": name, "problem": str(error)}


def write(file: Path, files: dict[str, str], now: datetime) -> None:
    """Raises UserError. Nobody else on this machine may read it."""
    folder = file.name.removesuffix(".gz").removesuffix(".tar")
    try:
        with (
            os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
            tarfile.open(fileobj=out, mode="w:gz") as archive,
        ):
            for name, text in files.items():
                content = text.encode(errors="replace")
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mtime, entry.mode = len(content), int(now.timestamp()), 0o600
                archive.addfile(entry, io.BytesIO(content))
    except FileExistsError as error:
        raise UserError(f"--output: {file} is there already: name another") from error
    except OSError as error:
        raise UserError(f"--output: {error}") from error
