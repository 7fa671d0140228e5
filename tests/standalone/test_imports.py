"""What a cluster does not load that has no use for it."""

import subprocess
import sys

import pytest


def loaded(module: str) -> set[str]:
    """All modules that come with one."""
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["services.apiserver.__main__", "services.standalone.cluster", "services.kubelet.runtime.docker", "services.kubelet.__main__"]
)
def test_a_client_of_http_and_cel_wait_for_who_needs_them(module: str) -> None:
    assert not {"aiohttp", "knarr.machinery.cel.compiler", "re2", "docker"} & loaded(module)


# What a start loads: of ours, with room for some more, and of others, Python's own included. A library brings a hundred.
OURS, OTHERS = 1_500, 700


def test_a_start_loads_what_serves_and_no_more() -> None:
    """Loading is more than half of a start, and most of a cluster's memory at rest."""
    found = loaded("services.standalone.background, services.kubelet.runtime.docker")
    # Of which somebody may ask for later, and which others bring along.
    waiting = {"aiohttp", "docker", "rich", "re2", "boto3", "knarr.machinery.cel.compiler"}
    waiting |= {f"services.scheduler.{name}" for name in ("what_if", "explaining", "hindrances", "remote.peer")}
    waiting |= {"services.scheduler.plugins.dynamicresources.allocator", "services.scheduler.plugins.dynamicresources.search"}
    brought = {
        "pyroute2",
        "sqlite3",
        "unittest",
        "difflib",
        "requests",
        "xml",
        "http.cookiejar",
        "click",
        "multiprocessing",
        "uvicorn.main",
    }
    assert not (waiting | brought) & found
    ours = {module for module in found if module.partition(".")[0] in ("knarr", "services")}
    assert len(ours) <= OURS
    assert len(found - ours) <= OTHERS


def test_what_is_looked_at_before_a_start_needs_no_loop() -> None:
    assert not {"asyncio", "ssl"} & loaded("services.command.main, services.standalone.process, services.standalone.preflight")


@pytest.mark.parametrize("module", ["services.standalone.preflight", "services.standalone.launch"])
def test_what_comes_before_a_cluster_is_loaded_needs_nothing_of_it(module: str) -> None:
    """What is looked at before the cluster's own process begins is loaded twice, and waited for; and so does etcd wait."""
    assert not {
        "google.protobuf",
        "grpc",
        "prometheus_client",
        "yaml",
        "knarr.machinery.resources",
        "services.kubelet.runtime.port",
    } & loaded(module)
