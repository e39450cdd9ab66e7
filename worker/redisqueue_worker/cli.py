"""The command line `redisqueue-worker`: run, drain, resume, stacks, check.

Exit codes: 0 drained, 1 crash (or, for `check`, Redis does not answer), 2 wrong settings or handler,
3 a start-up hook failed, 4 forced to stop with messages in hand.
Each sub-command imports what it needs and no more: `drain` must start at once.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from types import ModuleType

TYPE_CHECKING = False  # as type checkers know it, see the package
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXIT_WRONG = 2
_USAGE = """\
usage: redisqueue-worker COMMAND [options]

  run      handle the messages of a queue until told to stop
  drain    ask the worker of this container to stop claiming, wait until it has nothing in hand
           (--status: only look; --run-dir FOLDER; --timeout SECONDS)
  resume   take a drain by command back (--run-dir FOLDER)
  stacks   where the handler of each message in hand stands (--json; --run-dir FOLDER; --timeout SECONDS)
  check    import the handler, reach Redis, and say what is wrong

Every option of run and check is also an environment variable: redisqueue-worker run --help
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one sub-command; the exit code."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    match command:
        case "drain" | "resume" | "stacks":
            return _control(command, rest)
        case "run" | "check":
            return _worker(command, rest)
        case "slot" if rest and rest[0].isdecimal():  # which a worker with process slots starts for itself
            return _imported(command)(rest, os.environ)
        case "-h" | "--help" | "help":
            print(_USAGE, end="")
            return 0
        case "--version":
            from importlib.metadata import version  # noqa: PLC0415

            print(version("redis-queue-operator"))
            return 0
    problem = f"unknown command {command!r}" if command else "no command given"
    print(f"redisqueue-worker: {problem}\n\n{_USAGE}", end="", file=sys.stderr)
    return EXIT_WRONG


def _control(command: str, rest: list[str]) -> int:
    """These parse by hand: they must start at once, and argparse alone would double their time."""
    from redisqueue_worker import control_client  # noqa: PLC0415

    run_dir: str | None = None
    timeout: float | None = None
    as_json = False
    words = iter(rest)
    for word in words:
        name, _, value = word.partition("=")
        if word in ("-h", "--help"):
            print(_USAGE, end="")
            return 0
        if word == "--status" and command == "drain":
            command = "status"
        elif word == "--json" and command == "stacks":
            as_json = True
        elif name == "--run-dir" and (value := value or next(words, "")):
            run_dir = value
        elif name == "--timeout" and (value := value or next(words, "")).replace(".", "", 1).isdecimal():
            timeout = float(value)
        else:
            wrong = word if "=" in word or not value else f"{word} {value}"
            print(
                f"redisqueue-worker {command}: cannot make sense of {wrong!r}\n\n{_USAGE}",
                end="",
                file=sys.stderr,
            )
            return EXIT_WRONG
    return control_client.main(command, run_dir=run_dir, timeout_seconds=timeout, as_json=as_json)


def _worker(command: str, rest: list[str]) -> int:
    if command == "run":
        from redisqueue_worker import orphans  # noqa: PLC0415

        if os.getpid() == 1 and (code := orphans.become_init()) is not None:
            return code
        orphans.end_children_with_me()  # while there is little to fork
    from importlib.util import find_spec  # noqa: PLC0415

    if find_spec("prometheus_client") is None:
        print(
            "redisqueue-worker: install the 'worker' extra: pip install 'redis-queue-operator[worker]'",
            file=sys.stderr,
        )
        return EXIT_WRONG
    return _imported(command)(rest, os.environ)


def _imported(command: str) -> Callable[[list[str], Mapping[str, str]], int]:
    """The sub-command, imported without the garbage collector: what an import makes mostly stays for good."""
    gc.disable()
    try:
        if command == "slot":  # which needs no client
            from redisqueue_worker.process_child import slot  # noqa: PLC0415

            return slot
        _import_client()
        if command == "run":
            from redisqueue_worker.commands import run  # noqa: PLC0415

            return run
        from redisqueue_worker.check import check  # noqa: PLC0415

        return check
    finally:
        gc.freeze()
        gc.enable()


def _import_client() -> None:
    """Import redis-py without `importlib.metadata`, which it would ask for its own version, and never has to.

    That module brings e-mail, archives and temporary files along: a tenth of a start, and 2 MiB. Who imports
    it later gets the real one, and so does redis-py should it ask after all.
    """
    name = "importlib.metadata"
    if name in sys.modules:
        return

    def real(attribute: str) -> object:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in = ModuleType(name)
    vars(stand_in)["__getattr__"] = real
    sys.modules[name] = importlib.metadata = stand_in
    try:
        import redis  # noqa: F401, PLC0415
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name], importlib.metadata


if __name__ == "__main__":
    sys.exit(main())
