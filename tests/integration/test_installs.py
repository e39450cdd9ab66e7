"""What each way to install brings: every command works, or says in one line which extra it needs."""

from __future__ import annotations

import signal
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.release import krew
from tests.support.environments import UV, install_into
from tests.support.required import required
from tests.support.waiting import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
BASE, WORKER, LOCAL = "", "[worker]", "[worker,local]"
QUEUE = """\
apiVersion: redisqueue.dev/v1alpha1
kind: RedisQueue
metadata: {name: mails}
spec:
  redis: {url: "URL"}
  worker: {handler: "app:handle"}
"""
HANDLER = "def handle(payload: str) -> None:\n    print('handled', payload, flush=True)\n"
pytestmark = pytest.mark.timeout(400)


class Installed:
    """One environment, and the commands in it; it sees no kubectl."""

    def __init__(self, home: Path) -> None:
        self.bin = home / "bin"

    def run(self, command: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / command, *words],
            capture_output=True,
            text=True,
            env={"PATH": str(self.bin)},
            cwd=cwd,
            check=False,
            timeout=PATIENCE_SECONDS,
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The package as it would be published; None where it cannot be built, for want of a package index."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ("build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT))
    subprocess.run([UV, *words], capture_output=True, check=False)
    return next(folder.glob("*.whl"), None)


@pytest.fixture(scope="session")
def install(wheel: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Installed]:
    """Environments with the package and some of its extras, each made at its first use."""
    made: dict[str, Installed] = {}

    def environment(extras: str) -> Installed:
        built = required(wheel, "the wheel cannot be built: it needs a package index")
        if extras not in made:
            home = tmp_path_factory.mktemp("environment")
            install_into(home, f"{built}{extras}")
            made[extras] = Installed(home)
        return made[extras]

    return environment


@pytest.fixture
def queue_file(tmp_path: Path, redis_url: str) -> str:
    (tmp_path / "app.py").write_text(HANDLER)
    file = tmp_path / "queue.yaml"
    file.write_text(QUEUE.replace("URL", redis_url))
    return str(file)


@pytest.mark.parametrize("extras", [BASE, WORKER, LOCAL])
def test_whoever_has_the_package_may_work_with_queues(
    install: Callable[[str], Installed], redis_url: str, extras: str
) -> None:
    here = install(extras)
    said = []
    for words in (
        ("publish", "mails", "hello"),
        ("peek", "mails"),
        ("top", "mails", "--once"),
        ("redrive", "mails"),
        ("repair", "mails"),
        ("acl", "mails"),
    ):
        done = here.run("redisqueue", *words, "--redis-url", redis_url)
        assert done.returncode == 0, (words, done.stderr)
        said.append(done.stdout)
    assert said[0] == "published 1 to mails\n"
    assert "hello" in said[1]


@pytest.mark.parametrize("extras", [BASE, WORKER, LOCAL])
@pytest.mark.parametrize(
    ("command", "words", "enough", "extra"),
    [
        ("redisqueue", ("local", "FILE", "--reload"), [LOCAL], "local"),
        ("redisqueue", ("local", "--help"), [LOCAL], "local"),
        ("redisqueue", ("lint", "FILE"), [LOCAL], "local"),
        ("redisqueue", ("peek", "-f", "FILE"), [LOCAL], "local"),
        ("redisqueue", ("acl", "-f", "FILE", "--role", "worker"), [LOCAL], "local"),
        ("redisqueue-worker", ("check", "--handler", "app:handle"), [WORKER, LOCAL], "worker"),
        ("redisqueue-worker", ("run", "--help"), [WORKER, LOCAL], "worker"),
        ("redisqueue-operator", ("--help",), [], "operator"),
        ("redisqueue-operator", (), [], "operator"),
    ],
)
def test_a_command_works_or_names_its_extra_in_one_line(
    install: Callable[[str], Installed],
    queue_file: str,
    redis_url: str,
    extras: str,
    command: str,
    words: tuple[str, ...],
    enough: list[str],
    extra: str,
) -> None:
    given = [queue_file if word == "FILE" else word for word in words]
    if words[:1] == ("check",):
        given += ["--queue", "mails", "--redis-url", redis_url]
    if extras in enough and "--reload" in words:
        return  # it would run on: tests of local mode do that
    done = install(extras).run(command, *given, cwd=Path(queue_file).parent)
    if extras in enough:
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"pip install 'redis-queue-operator[{extra}]'" in done.stderr


@pytest.mark.parametrize("extras", [BASE, WORKER, LOCAL])
@pytest.mark.parametrize("command", ["redisqueue", "kubectl-redisqueue", "redisqueue-worker"])
def test_help_is_there_for_everybody(install: Callable[[str], Installed], extras: str, command: str) -> None:
    done = install(extras).run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout
    asked = install(extras).run("kubectl-redisqueue", "explain", "mails")
    assert asked.stderr == "redisqueue: kubectl is not on PATH: this command asks the cluster through it\n"


def test_the_plugin_for_krew_brings_all_that_it_needs(
    wheel: Path | None, redis_url: str, tmp_path: Path
) -> None:
    """As krew unpacks and links it, with a Python that has nothing else."""
    built = required(wheel, "the wheel cannot be built: it needs a package index")
    archive, _ = krew.pack(ROOT, built, tmp_path, "0.0.0", "https://example.com", moment=0)
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "store", filter="data")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl-redisqueue").symlink_to(tmp_path / "store" / krew.NAME)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    surroundings = {"PATH": str(tmp_path / "bare" / "bin"), "PYTHONDONTWRITEBYTECODE": "1"}
    for words, code, said in (
        (["--version"], 0, "redisqueue "),
        (["publish", "mails", "hello", "--redis-url", redis_url], 0, "published 1 to mails"),
        (["top", "--once", "--redis-url", redis_url], 0, "mails"),
        (["peek", "rq/mails"], 1, "kubectl is not on PATH"),
        (["lint", "absent.yaml"], 1, "absent.yaml"),
    ):
        done = subprocess.run(
            [tmp_path / "bin" / "kubectl-redisqueue", *words],
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), (words, done)
        assert "Traceback" not in done.stderr


def test_a_producers_install_is_small(install: Callable[[str], Installed]) -> None:
    code = "from importlib.metadata import distributions as d; print(*sorted(x.name.lower() for x in d()))"
    done = install(BASE).run("python", "-c", code)
    assert set(done.stdout.split()) <= {"redis", "redis-queue-operator", "tenacity", "async-timeout"}


def test_local_mode_brings_all_that_its_page_needs(
    install: Callable[[str], Installed], queue_file: str, redis_url: str
) -> None:
    command = [install(LOCAL).bin / "redisqueue", "local", queue_file, "--redis-url", redis_url, "--page"]
    environment = {"PATH": str(install(LOCAL).bin), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            url = next((line.split()[-1] for line in process.stdout if line.startswith("the page: ")), "")

            def shown() -> str:
                with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
                    return str(answer.read().decode())

            eventually(lambda: 'href="queues/default/mails"' in shown(), "its queue is on the page")
            assert "<style>" in shown()
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read() if process.stdout else None
        assert process.wait(PATIENCE_SECONDS) == 130
