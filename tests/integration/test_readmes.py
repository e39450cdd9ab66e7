"""Every code block of every README is run as it is written; each page is one story, from its top to its end.

Redis is wherever the page says, on port 6379: the name and the port lead to the server of the test.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import yaml
from tests.support.environments import install_into
from tests.support.helm import MISSING, Helm, binary
from tests.support.prometheus import READMES, documented, promtool
from tests.support.promql import alerts, metrics_in
from tests.support.readmes import ROOT, Block, blocks, needs_cluster, pages
from tests.support.required import required
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redisqueue_operator.api.definition import FILES
from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(400)
BIN = Path(sys.executable).parent
LEFT = (b"::pending", b"::processing")
# Python looks for this module at its start.
REDIRECT = """
import socket
real = socket.getaddrinfo
def to_the_test(host, port, *more, **named):
    return real("127.0.0.1", PORT, *more, **named) if port == 6379 else real(host, port, *more, **named)
socket.getaddrinfo = to_the_test
"""


class Story:
    """A shell in a folder of its own, where the files of the page are."""

    def __init__(self, folder: Path, redis_url: str, client: redis.Redis) -> None:
        self.folder, self.client = folder, client
        (folder / "site").mkdir()
        port = redis_url.rpartition(":")[2].partition("/")[0]
        (folder / "site" / "sitecustomize.py").write_text(REDIRECT.replace("PORT", port))
        for name in ("crds", "helm", "operator"):
            (folder / name).symlink_to(ROOT / name)
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": f"{folder / 'site'}:{folder}",
            "REDISQUEUE_HTTP_PORT": "0",
        }
        self.running: list[tuple[list[str], subprocess.Popen[bytes], Path]] = []

    def write(self, block: Block) -> None:
        file = self.folder / block.file
        file.parent.mkdir(exist_ok=True)
        file.write_text(block.text)

    def run(self, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            words,
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS * 3,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def start(self, words: list[str], until: str) -> None:
        """A program that runs on; `until` is what it says when it works."""
        log, run_dir = (self.folder / f"{len(self.running)}.{what}" for what in ("log", "run"))
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env={**self.environment, "REDISQUEUE_RUN_DIR": str(run_dir)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append((words, process, log))
        try:
            eventually(lambda: until in log.read_text() or process.poll() is not None, f"{words}: {until}")
        finally:
            assert process.poll() is None, log.read_text()

    def end(self) -> None:
        """All messages are handled, none is given up, and what runs ends when it is told to."""
        for client in (self.client, *self.own_servers()):
            eventually(partial(is_done, client), "all is handled")
            assert not list(client.scan_iter("*::dlq"))
        for words, process, log in self.running:
            process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE_SECONDS)
            assert code in (0, 130), (words, log.read_text())
            assert "Traceback" not in log.read_text()

    def own_servers(self) -> list[redis.Redis]:
        """Those of local mode, where the page gives one a port."""
        ports = [words[words.index("--port") + 1] for words, _, _ in self.running if "--port" in words]
        return [redis.Redis(port=int(port)) for port in ports]

    def kill(self) -> None:
        for _, process, _ in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()


def is_done(client: redis.Redis) -> bool:
    return not [key for key in client.scan_iter() if key.endswith(LEFT)]


@pytest.fixture
def story(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> Iterator[Story]:
    story = Story(tmp_path, redis_url, redis_client)
    yield story
    story.kill()


@pytest.mark.parametrize("page", pages(), ids=str)
def test_a_page_works_as_it_is_written(page: Path, story: Story) -> None:
    found = blocks(page)
    for block in found:
        if block.file:
            story.write(block)
        if block.language == "yaml" and "kind: RedisQueue\n" in block.text:
            (story.folder / "queue.yaml").write_text(block.text)
    if page.name == "runbook.md":  # it speaks of a queue that one has
        story.run("redisqueue", "enqueue", "emails", "later", "--delay", "3600")
    for block in found:
        if not (block.file or block.is_drawing):
            play(block, story, page)
    story.end()


def play(block: Block, story: Story, page: Path) -> None:
    if block.language == "python":
        story.run(sys.executable, "-c", block.text)
    elif block.language == "yaml":
        read(block, story)
    elif block.language == "promql":
        of_documented_metrics(block)
    elif block.language == "crontab":
        for line in block.text.splitlines():
            story.run("sh", "-c", line.split(maxsplit=5)[5].replace(r"\%", "%"))
    elif block.text.startswith("ACL "):
        for line in re.sub(r"\\\n", "", block.text).splitlines():
            story.client.execute_command("ACL", "DELUSER", line.split()[2])  # another test's
            story.client.execute_command(*line.split())
            story.client.execute_command("ACL", "DELUSER", line.split()[2])
    elif block.text.startswith("FROM "):
        of_the_image(block)
    else:
        assert block.commands, f"{block.where}: no test runs this"
        for words in block.commands:
            shell(words, story, page)


def read(block: Block, story: Story) -> None:
    """A resource of ours is valid; one of others scales ours, or runs a command at some time."""
    manifest: dict[str, Any] = yaml.safe_load(block.text)
    if "scrape_configs" in manifest:
        file = story.folder / "prometheus.yml"
        # Debian's Prometheus knows no Kubernetes; tests/operator/test_monitoring.py scrapes by these jobs.
        file.write_text(block.text.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: []"))
        promtool("check", "config", file)
    elif "inhibit_rules" in manifest:
        of_known_alerts(manifest["inhibit_rules"])
    elif manifest["kind"] in FILES:
        file = story.folder / "resource.yaml"
        file.write_text(block.text)
        assert main(["lint", str(file)]) == 0, block.where
    elif manifest["kind"] == "CronJob":
        (container,) = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        names = [variable["name"] for variable in container["env"]]
        words = [*container["command"], *container["args"]]
        for _ in range(2):  # the second time a duplicate
            story.run(*(re.sub(rf"\$\(({'|'.join(names)})\)", r"\1-1", word) for word in words))
    else:
        assert manifest["spec"]["scaleTargetRef"]["kind"] in FILES


def of_documented_metrics(block: Block) -> None:
    """Prometheus understands it, and each metric in it is in a table."""
    rules = {"groups": [{"name": "asked", "rules": [{"record": "it", "expr": block.text}]}]}
    promtool("check", "rules", "/dev/stdin", stdin=yaml.safe_dump(rules))
    known = {name for side in READMES for name in documented(side)}
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in metrics_in(block.text)}
    assert names, block.where
    assert names <= known, block.where


def of_known_alerts(rules: list[dict[str, Any]]) -> None:
    """Alertmanager matches alerts that there are: every alternative of each matcher is one."""
    matchers = [text for rule in rules for part in ("source", "target") for text in rule[f"{part}_matchers"]]
    for text in matchers:
        pattern = re.fullmatch(r'alertname=~?"(.*)"', text)
        assert pattern, text
        alternatives = re.fullmatch(r"(\w+)\((.*)\)", pattern[1])
        head, ends = (alternatives[1], alternatives[2].split("|")) if alternatives else (pattern[1], [""])
        assert {f"{head}{end}" for end in ends} <= alerts().keys()


def of_the_image(block: Block) -> None:
    """What it relies on is what our Dockerfile makes; an image is built by tests/cluster/cluster alone."""
    ours = (ROOT / "worker" / "Dockerfile").read_text()
    for needed in ("/opt/redisqueue", "65532", "/app"):
        assert needed in block.text
        assert needed in ours


def of_helm(command: str, rest: list[str]) -> None:
    """What installs is rendered; tests/e2e/test_uninstall.py plays the whole."""
    if command == "uninstall":
        assert rest[0].startswith("redisqueue")
        return
    assert command in ("install", "upgrade")
    places = (str(ROOT / word) if word.startswith(("helm/", "tests/")) else word for word in rest)
    helm = Helm(required(binary("helm"), MISSING.format("helm")))
    helm.run("template", "--kube-version=1.35", *(each for each in places if "reuse" not in each))


def of_pip(what: list[str], story: Story) -> None:
    """Into a folder of the page, or from the repository into an environment with nothing else in it."""
    if "--target" in what:
        story.run(sys.executable, "-m", "pip", "install", *what)
        return
    install_into(story.folder / "bare", *(word.replace(".", str(ROOT), 1) for word in what))


def makes_files_alone(words: list[str]) -> bool:
    """Whether it is about an image without a system, which tests/e2e/test_image_source.py builds so."""
    if words[0] == "printf":
        assert words[1] in (ROOT / "tests" / "cluster" / "lib" / "images.sh").read_text()
    return "buildah" in words


def shell(words: list[str], story: Story, page: Path) -> None:
    """One command. Those that ask an API server are run by tests/operator/test_readmes.py."""
    match words:
        case _ if needs_cluster(words) or makes_files_alone(words):
            return
        case ["pip", "install", *what]:
            of_pip(what, story)
        case ["redisqueue-worker", "run", *options] if "--burst" not in options:
            story.start(words, "started")
        case ["redisqueue", "local", *_]:
            story.start(words, "redisqueue publish ")
        case ["redisqueue", "publish", *_, url] if ":6399" in url:
            story.run(*words)
            _, _, log = story.running[-1]
            eventually(lambda: words[3] in log.read_text().partition("redisqueue publish ")[2], "handled")
        case ["redisqueue" | "pytest", *_] | ["redisqueue-worker", "check" | "run", *_]:
            story.run(*words)
        case ["helm", command, *rest]:
            of_helm(command, rest)
        case ["python" | ".venv/bin/python", "-m", module, *_]:
            story.run(sys.executable, "-m", module, "--help", cwd=ROOT)
        case ["./cluster", command]:
            usage = story.run(str(ROOT / page.parent / "cluster"), "help")
            assert f"\n  {command} " in usage
        case ["export", *_]:
            used = re.findall(r"\$\((\S+) (\w+)\)", " ".join(words))
            assert used
            for program, command in used:
                usage = story.run(str(ROOT / page.parent / program), "help")
                assert f"\n  {command} " in usage
        case _:  # a test within a test would never end: make says what it would run
            at = words.index("make")
            assert all("=" in word for word in words[:at]), words
            story.run("make", "-n", *words[at + 1 :], cwd=ROOT)
