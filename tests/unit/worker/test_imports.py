"""What a worker's command imports before all else. Each test has a process of its own: here all is there."""

from __future__ import annotations

import subprocess
import sys

# Where OpenTelemetry is installed redis-py imports it, and it asks what is installed.
IMPORTED = """
import sys
sys.modules["opentelemetry"] = None
from redisqueue_worker import cli
cli._imported("run")
"""


def told(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_start_asks_for_no_version_of_redis_py_and_so_imports_no_reader_of_archives_and_mails() -> None:
    known = told(f"{IMPORTED}print(*sys.modules)").split()
    assert "redis" in known
    assert not {"importlib.metadata", "zipfile", "email", "tempfile"} & set(known)


def test_whoever_asks_for_it_later_has_the_real_one_and_so_does_redis_py() -> None:
    code = """
import importlib, redis.utils
assert not hasattr(importlib, "metadata")
assert redis.utils.get_lib_version() == redis.__version__
from importlib import metadata
assert metadata is importlib.metadata is sys.modules["importlib.metadata"]
assert metadata.__spec__.name == "importlib.metadata"
assert redis.utils.metadata.version("redis") == metadata.version("redis")
"""
    assert told(IMPORTED + code) == ""


def test_what_asks_for_it_while_redis_py_is_imported_has_the_real_one_at_once() -> None:
    """As OpenTelemetry does, and whatever else comes along."""
    code = """
import importlib, sys, types
finder = types.SimpleNamespace(asked=False)
def find_spec(name, path=None, target=None):
    if name == "redis" and not finder.asked:
        finder.asked = True
        from importlib.metadata import version
        import importlib.metadata
        assert version is importlib.metadata.version
        assert importlib.metadata.__spec__.name == "importlib.metadata"
finder.find_spec = find_spec
sys.meta_path.insert(0, finder)
from redisqueue_worker import cli
cli._imported("run")
assert finder.asked
assert sys.modules["importlib.metadata"] is importlib.metadata
"""
    assert told(code) == ""


def test_a_module_that_was_there_before_stays() -> None:
    code = (
        "import sys, importlib.metadata as before\nfrom redisqueue_worker import cli\ncli._imported('run')\n"
    )
    assert told(f"{code}assert sys.modules['importlib.metadata'] is before") == ""


def test_the_library_imports_no_client_before_a_name_of_it_is_asked_for() -> None:
    known = told("import sys, redis_message_queue, redis_message_queue.asyncio; print(*sys.modules)").split()
    ours = [name for name in known if name.startswith("redis_message_queue.") and name.count(".") == 1]
    assert ours == ["redis_message_queue.asyncio"]
    assert not {"redis", "asyncio", "tenacity", "dataclasses"} & set(known)
