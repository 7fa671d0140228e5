"""What people do to look into pods, by kubectl: debug, attach to a terminal, copy, and follow several containers."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.knarr_cluster import BIN, KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

WAIT_SECONDS = 30.0
# Commands that kubectl attaches to wait for a word: what is said before somebody is attached is in the log alone.
# kubectl copies by the container's own tar.
POD = """
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: hello:1
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "ln -s busybox /bin/tar; for n in 1 2 3; do echo web $n; done; exec sleep 98765"]
    readinessProbe: {exec: {command: [ls, /bin/tar]}, periodSeconds: 1}
  - name: shell
    image: hello:1
    imagePullPolicy: IfNotPresent
    stdin: true
    tty: true
    command: [sh, -c, "for n in 1 2 3; do echo shell $n >&2; done; exec sh"]
"""


@pytest.fixture(scope="module")
def pair(cluster: KnarrCluster) -> Iterator[KnarrCluster]:
    cluster.apply(POD)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/pair", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "pod/pair", "--wait=true")


def command(cluster: KnarrCluster, *words: str) -> list[str]:
    return [str(BIN / "kubectl"), "--kubeconfig", str(cluster.data_dir / "kubeconfig"), *words]


class Terminal:
    """A person's terminal, whose command sees it on both sides."""

    def __init__(self, screen: int) -> None:
        self._screen, self.shown = screen, ""

    def type(self, words: str) -> None:
        os.write(self._screen, words.encode())

    def until(self, words: str) -> None:
        """Until the words are on it, behind what was waited for before."""
        deadline = time.monotonic() + WAIT_SECONDS
        while words not in self.shown:
            ready, _, _ = select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{words!r} did not come: {self.shown!r}"
            self.shown += os.read(self._screen, 65536).decode()
        self.shown = self.shown.partition(words)[2]


@contextmanager
def terminal(words: list[str]) -> Iterator[Terminal]:
    screen, keyboard = pty.openpty()
    with subprocess.Popen(words, stdin=keyboard, stdout=keyboard, stderr=keyboard, start_new_session=True) as process:
        os.close(keyboard)
        try:
            yield Terminal(screen)
        finally:
            process.kill()
            os.close(screen)


def test_attach_to_a_terminal(pair: KnarrCluster) -> None:
    with terminal(command(pair, "attach", "-it", "pair", "-c", "shell")) as person:
        person.type("echo $((6*7)) in $(hostname)\r")
        person.until("42 in pair")
        # Leaving ends neither the shell nor the container.
    with terminal(command(pair, "attach", "-it", "pair", "-c", "shell")) as person:
        person.type("echo again $((6*8))\r")
        person.until("again 48")


def test_exec_in_a_terminal(pair: KnarrCluster) -> None:
    with terminal(command(pair, "exec", "-it", "pair", "-c", "web", "--", "sh")) as person:
        person.type("busybox stty size; echo $((6*7)) in $(hostname)\r")
        person.until("42 in pair")
        person.type("exit 5\r")
        person.until("exit code 5")


def answered(words: list[str], word: str) -> str:
    """What is said until the command ends. Its input stays open meanwhile: an end of it ends an attachment, as with Kubernetes."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        return process.stdout.read()


@pytest.mark.parametrize("target", ["web", ""])
def test_a_pod_is_looked_into(pair: KnarrCluster, target: str) -> None:
    name = f"eye-{target or 'alone'}"
    inside = ("--", "sh", "-c", "read word; echo heard $word; ps; hostname")
    said = answered(command(pair, "debug", "-i", "pair", "--image=hello:1", "-c", name, f"--target={target}", *inside), "go")
    assert "heard go" in said and said.endswith("pair\n")
    assert ("sleep 98765" in said) == (target == "web")
    pair.wait_for("its end", lambda: "terminated" in _states(pair)[name])


def _states(cluster: KnarrCluster) -> dict[str, dict[str, object]]:
    return {one["name"]: one["state"] for one in cluster.get("pod", "pair")["status"]["ephemeralContainerStatuses"]}


def test_a_node_is_looked_into(pair: KnarrCluster) -> None:
    inside = ("--", "sh", "-c", "read word; ps; cat /host/etc/hostname")
    try:
        said = answered(command(pair, "debug", "-i", f"node/{pair.node}", "--image=hello:1", "--profile=general", *inside), "go")
        assert said.endswith(Path("/etc/hostname").read_text()) and "dockerd" in said
    finally:
        names = [one["metadata"]["name"] for one in pair.get("pods")["items"] if one["metadata"]["name"].startswith("node-debugger-")]
        assert len(names) == 1
        pair.kubectl("delete", "pod", *names, "--wait=true")


def test_files_are_copied_both_ways(pair: KnarrCluster, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    content = os.urandom(3_000_000)
    (folder / "deep" / "data").write_bytes(content)
    (folder / "script").write_text("echo hello\n")
    (folder / "script").chmod(0o755)
    pair.kubectl("cp", str(folder), "pair:/tmp/there", "-c", "web")
    seen = pair.kubectl("exec", "pair", "-c", "web", "--", "sh", "/tmp/there/script").stdout
    assert seen == "hello\n"
    pair.kubectl("cp", "pair:/tmp/there", str(tmp_path / "back"), "-c", "web")
    assert (tmp_path / "back" / "deep" / "data").read_bytes() == content
    assert (tmp_path / "back" / "script").read_text() == "echo hello\n"


def test_all_containers_are_followed(pair: KnarrCluster) -> None:
    wanted = {f"[pod/pair/{name}] {name} {number}" for name in ("web", "shell") for number in (1, 2, 3)}
    words = command(pair, "logs", "pair", "--all-containers", "--prefix", "-f")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        # The prompt of the shell is behind its lines; what is said later comes too.
        while wanted:
            line = process.stdout.readline()
            assert line, f"the logs ended before {wanted}"
            wanted.discard(line.decode().rstrip())
        pair.kubectl("exec", "pair", "-c", "web", "--", "sh", "-c", "echo later > /proc/1/fd/1")
        while b"[pod/pair/web] later" not in (line := process.stdout.readline()):
            assert line
        process.kill()
