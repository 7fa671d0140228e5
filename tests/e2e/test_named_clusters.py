"""Named clusters: several at once, begun together, killed in between, frozen, and removed whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_client import BIN, ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

HOLLOW = ["--runtime", "hollow", "--datapath", "userspace"]
MINE = """\
# mine
apiVersion: v1
kind: Config
clusters: []
contexts: []
current-context: ""
users:
# a friend
- name: me
  user: {token: abc}
"""


class Person:
    """Somebody with clusters and a kubeconfig of his own."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig, self.clusters = folder / "config", folder / "knarr/clusters"
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder), "KUBECONFIG": str(self.kubeconfig)}

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(BIN / "knarr"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=self.environment
        )

    def knarr(self, *arguments: str) -> str:
        running = self.begin(*arguments)
        told, _ = running.communicate(timeout=120)
        assert running.returncode == 0, told
        return told

    def facts(self, *arguments: str) -> Any:
        """What a command tells programs; people are told beside it."""
        command = [str(BIN / "knarr"), *arguments, "-o", "json"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=120, cwd=ROOT, env=self.environment)
        return json.loads(done.stdout)

    def listed(self) -> dict[str, Any]:
        return {one["name"]: one for one in json.loads(self.knarr("list", "-o", "json"))}

    def kubectl(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(BIN / "kubectl"), *arguments], capture_output=True, text=True, timeout=60, check=True, env=self.environment
        )
        return done.stdout


@pytest.fixture
def person() -> Iterator[Person]:
    # A socket's path has little room.
    folder = Path(subprocess.run(["mktemp", "-d", "/tmp/kn-XXXXXX"], capture_output=True, text=True, check=True).stdout.strip())
    made = Person(folder)
    made.kubeconfig.write_text(MINE)
    try:
        yield made
    finally:
        for name in made.listed():
            made.begin("delete", name).communicate(timeout=120)
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_two_clusters_from_eight_shells_and_all_that_follows(person: Person) -> None:
    shells = [person.begin("up", "--name", "ab"[number % 2], *HOLLOW) for number in range(8)]
    told = [(shell.communicate(timeout=200)[0], shell.returncode) for shell in shells]
    assert sum("is ready after" in words for words, _ in told) == 2, told
    for words, code in told:
        assert code == 0 or "another knarr command is at work in" in words, told
    found = person.listed()
    assert {name: one["state"] for name, one in found.items()} == {"a": "running", "b": "running"}
    assert found["a"]["server"] != found["b"]["server"]
    for name in "ab":
        person.knarr("switch", name)
        person.kubectl("create", "namespace", f"of-{name}")
        assert f"of-{name}" in person.kubectl("get", "namespaces", "--context", f"knarr-{name}", "-o", "name")
    assert "of-b" not in person.kubectl("get", "namespaces", "--context", "knarr-a", "-o", "name")
    frozen(person)
    comes_back(person, found["a"]["server"])
    for name in "ab":
        person.knarr("delete", name)
    assert person.kubeconfig.read_text() == MINE
    assert not list(person.clusters.iterdir())


def frozen(person: Person) -> None:
    """A cluster that is paused takes no time of the processor; afterwards it is as it was."""
    person.knarr("pause", "b")
    pid = person.listed()["b"]["pid"]
    before = Path(f"/proc/{pid}/stat").read_text()
    assert person.listed()["b"]["state"] == "paused"
    # The other one is asked meanwhile.
    person.kubectl("get", "nodes", "--context", "knarr-a")
    assert Path(f"/proc/{pid}/stat").read_text() == before
    person.knarr("resume", "b")
    person.kubectl("create", "configmap", "after", "--context", "knarr-b")
    # `down` does not wait for one that is frozen.
    person.knarr("pause", "b")
    assert "the cluster's process has stopped" in person.knarr("down", "--name", "b")


def comes_back(person: Person, server: str) -> None:
    person.knarr("down", "--name", "a")
    assert "knarr-a" not in person.kubeconfig.read_text()
    assert "is ready after" in person.knarr("up", "--name", "a")
    assert person.listed()["a"]["server"] == server
    # Of one that runs already programs hear the same.
    told = person.facts("up", "--name", "a")
    assert (told["state"], told["server"], told["context"]) == ("running", server, "knarr-a")
    assert all(one["serving"] for one in told["components"])
    assert "of-a" in person.kubectl("get", "namespaces", "-o", "name")


def test_what_was_killed_on_its_way_is_taken_up_again(person: Person) -> None:
    """Whenever `knarr up` or the cluster itself is killed, the next `up` has a cluster with its context, on the same ports."""
    server = ""
    for step in ("etcd", "apiserver", "is ready after"):
        shell = person.begin("up", "--name", "a", *HOLLOW)
        assert shell.stdout is not None
        assert any(step in line for line in shell.stdout)
        shell.send_signal(signal.SIGKILL)
        shell.communicate()
        # Whoever waited has gone, and the cluster goes on without: it is ready in the end, or was so already.
        deadline = time.monotonic() + 100
        while person.listed()["a"]["state"] == "starting" and time.monotonic() < deadline:
            pass
        told = person.knarr("up", "--name", "a", *HOLLOW)
        assert "runs already" in told or "is ready after" in told
        found = person.listed()["a"]
        assert found["state"] == "running" and found["current"] and found["server"] == (server or found["server"])
        server = found["server"]
        os.kill(found["pid"], signal.SIGKILL)
    assert "a" in person.listed()
    assert "is ready after" in person.knarr("up", "--name", "a")
    assert person.listed()["a"]["server"] == server
