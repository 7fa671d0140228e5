"""The test plugin: a cluster for the tests of whatever uses the API. docs/testing.md tells how it is used.

It is loaded by every run of pytest where Knarr is installed, and so loads nothing itself until a test wants a cluster.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from knarr.pytest.clusters import AnyCluster
    from knarr.pytest.faults import Faults

FLAVOURS, STORES = ("hollow", "docker"), ("memory", "etcd")
KUBECTL_SECONDS = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("knarr", "a Kubernetes-compatible cluster for tests")
    for name, default, words in (
        ("flavour", FLAVOURS[0], f"what runs containers: {' or '.join(FLAVOURS)}; hollow simulates them, needs no root and no engine"),
        ("store", STORES[0], f"what keeps the objects of a hollow cluster: {' or '.join(STORES)}"),
        ("nodes", "1", "how many nodes a hollow cluster has"),
    ):
        group.addoption(f"--knarr-{name}", default=None, help=f"{words} (default: that of the ini file, or {default})")
        parser.addini(f"knarr_{name}", words, default=default)


def pytest_configure(config: pytest.Config) -> None:
    """A mistake is told before anything runs."""
    _chosen_all(config)


def started(flavour: str, store: str, nodes: int) -> AnyCluster:
    """A cluster whose node is ready, and all that it takes to have one. Raises CommandError where it cannot be had.

    What loading and starting make stays: looking through it for garbage, meanwhile and the first time afterwards, is a tenth of their time.
    """
    looked = gc.isenabled()
    gc.disable()
    try:
        from knarr.pytest.clusters import start

        return start(flavour, store, nodes)
    finally:
        gc.freeze()
        if looked:
            gc.enable()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[AnyCluster]:
    """The cluster of this process: each worker of xdist has its own."""
    made = started(*_chosen_all(pytestconfig))
    yield made
    made.stop()


@pytest.fixture
def namespace(cluster: AnyCluster) -> Iterator[str]:
    """The name of a namespace of the test's own, with its ServiceAccount. Afterwards it is deleted, with all that is in it."""
    name = cluster.make_namespace()
    yield name
    cluster.delete_namespace(name)


@pytest.fixture
def kubeconfig(cluster: AnyCluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig whose namespace is the test's; KUBECONFIG names it, so that clients find it by themselves."""
    path = tmp_path / "kubeconfig"
    path.write_bytes(cluster.kubeconfig_in(namespace))
    path.chmod(0o600)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture
def kubectl(kubeconfig: Path) -> Callable[..., str]:
    """Calls kubectl with these arguments in the test's namespace, ``stdin`` as its input; answers what it prints. Fails with its errors."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.fail("kubectl is not on the path: https://kubernetes.io/docs/tasks/tools/ says how to get it", pytrace=False)

    def call(*arguments: str, stdin: str | None = None) -> str:
        command = [program, "--kubeconfig", str(kubeconfig), *arguments]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            pytest.fail(f"kubectl {' '.join(arguments)}: it did not end within {KUBECTL_SECONDS:.0f} s", pytrace=False)
        if done.returncode:
            pytest.fail(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}", pytrace=False)
        return done.stdout

    return call


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[Any]:
    """An ``ApiClient`` of the official library, which has to be installed (``pip install kubernetes``)."""
    config = pytest.importorskip("kubernetes.config", reason="the fixture `api` needs `pip install kubernetes`")
    client = config.new_client_from_config(str(kubeconfig))
    yield client
    client.close()


@pytest.fixture
def inject(cluster: AnyCluster) -> Iterator[Faults]:
    """What befalls the cluster, and the test's own way to it. When the test ends all is well again, but for the time that has passed."""
    if cluster.faults is None:
        pytest.skip("faults can be injected into a hollow cluster alone")
    yield cluster.faults
    cluster.faults.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Of a test that fails, why its pods are not ready, and the last events, while its namespace is there."""
    report = yield
    found = getattr(item, "funcargs", {})
    # Fixtures of these names may be somebody else's: then nothing of a cluster was loaded, or they hold something else.
    clusters = sys.modules.get("knarr.pytest.clusters")
    own = clusters is not None and isinstance(found.get("cluster"), clusters.AnyCluster) and isinstance(found.get("namespace"), str)
    if report.when == "call" and report.failed and own:
        from knarr.pytest.explanation import explained

        report.sections.append((f"namespace {found['namespace']}", explained(found["cluster"].api, found["namespace"])))
    return report


def _chosen_all(config: pytest.Config) -> tuple[str, str, int]:
    """Flavour, store and number of nodes. Raises UsageError."""
    return _choice(config, "flavour", FLAVOURS), _choice(config, "store", STORES), _number(config, "nodes")


def _chosen(config: pytest.Config, name: str) -> str:
    given = config.getoption(f"knarr_{name}")
    return str(given if given is not None else config.getini(f"knarr_{name}"))


def _choice(config: pytest.Config, name: str, among: tuple[str, ...]) -> str:
    chosen = _chosen(config, name)
    if chosen not in among:
        raise pytest.UsageError(f"knarr_{name}: {chosen!r} is none of {', '.join(among)}")
    return chosen


def _number(config: pytest.Config, name: str) -> int:
    chosen = _chosen(config, name)
    if not chosen.isdecimal() or not int(chosen):
        raise pytest.UsageError(f"knarr_{name}: {chosen!r} is not a number from 1 on")
    return int(chosen)
