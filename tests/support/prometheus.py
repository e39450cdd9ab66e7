"""A real Prometheus and its promtool, and the tables of metrics that the READMEs have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.required import required
from tests.support.waiting import PATIENCE_SECONDS

from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "helm" / "redis-queue-operator" / "files" / "monitoring"
MISSING = (
    "{} not found: put it on the PATH, name its folder in REDISQUEUE_PROMETHEUS_BIN, or run"
    " tests/support/prometheus_tools"
)
READMES = {"operator": ROOT / "operator" / "README.md", "worker": ROOT / "worker" / "README.md"}
_ROW = re.compile(r"^\| `(redisqueue_\w+)`")


def tool(name: str) -> Path:
    """That program; without it the test is skipped, or fails with CI=true."""
    cache = (
        os.environ.get("REDISQUEUE_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/redisqueue"
    )
    folders = [os.environ.get("REDISQUEUE_PROMETHEUS_BIN", ""), f"{cache}/prometheus/bin"]
    candidates = [Path(folder).expanduser() / name for folder in folders if folder]
    if found := shutil.which(name):
        candidates.insert(1, Path(found))
    return required(next((path for path in candidates if path.is_file()), None), MISSING.format(name))


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """What it prints; fails with its words when it finds something wrong."""
    command = [tool("promtool"), *arguments]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documented(readme: str) -> list[str]:
    """The names of a table of metrics, as Prometheus has them: without the ends of histograms."""
    return [match[1] for line in READMES[readme].read_text().splitlines() if (match := _ROW.match(line))]


def exposed(page: str) -> list[str]:
    """The names of our metrics on a page, by its TYPE lines."""
    return re.findall(r"^# TYPE (redisqueue_\w+) ", page, flags=re.MULTILINE)


class Prometheus:
    """A server that scrapes every second; starts on `with`, ends on leaving it.

    Args:
        folder: where it keeps what it knows.
        rules: files of rules, checked every second.
        jobs: what to scrape, as `scrape_configs` has it.
    """

    def __init__(self, folder: Path, rules: Iterable[Path], jobs: list[dict[str, Any]]) -> None:
        self.port = free_port()
        self.log = folder / "prometheus.log"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": jobs,
        }
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        self._command = [
            tool("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Prometheus:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()

    def _await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)  # it opens no port before it is nearly ready
        raise AssertionError(f"Prometheus is not ready: {self.log.read_text()[-3000:]}")

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now: `metric` and `value` of each."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {
            each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"
        }
