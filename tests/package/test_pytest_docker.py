"""The flavour `docker` of the plugin knarr.pytest: real containers, a cluster for each worker, and nothing left of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.cluster_client import BIN, ROOT
from tests.support.engine import IMAGE, docker, ensure_image

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

TESTS = f"""
import pathlib
import pytest

def test_a_container_runs_and_is_asked(cluster, kubectl):
    kubectl("run", "web", "--image={IMAGE}")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    assert "listening" in kubectl("logs", "web")
    assert kubectl("exec", "web", "--", "hostname").strip() == "web"
    pathlib.Path("{{kept}}", cluster.files.known_id()).touch()

def test_a_service_leads_to_it_by_its_name(cluster, kubectl):
    kubectl("run", "web", "--image={IMAGE}", "--port=8080", "--expose")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    ask = "until wget -qO- http://web:8080/; do sleep 0.2; done"
    kubectl("run", "ask", "--image={IMAGE}", "--restart=Never", "--command", "--", "sh", "-c", ask)
    kubectl("wait", "--for=jsonpath={{{{.status.phase}}}}=Succeeded", "pod/ask", "--timeout=60s")
    assert "hello from web" in kubectl("logs", "ask")
    pathlib.Path("{{kept}}", cluster.files.known_id()).touch()

def test_faults_are_for_simulated_clusters(inject):
    raise AssertionError

def test_what_fails_is_told_with_its_pods(kubectl):
    kubectl("run", "none", "--image=nowhere.invalid/none:1", "--image-pull-policy=Never")
    waiting = "jsonpath={{{{.status.containerStatuses[0].state.waiting.reason}}}}=ErrImageNeverPull"
    kubectl("wait", f"--for={{{{waiting}}}}", "pod/none", "--timeout=60s")
    assert not "ready"
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_on_an_engine(workers: str, pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_image()
    kept = tmp_path / "clusters"
    kept.mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeini("[pytest]\naddopts = -p knarr.pytest -p no:cacheprovider -p no:schemathesis -p no:anyio -p no:asyncio")
    pytester.makepyfile(TESTS.format(kept=kept))
    result = pytester.runpytest_subprocess("--knarr-flavour=docker", "-n", workers)
    text = result.stdout.str()
    assert result.parseoutcomes() == {"passed": 2, "skipped": 1, "failed": 1}, text
    assert "ErrImageNeverPull" in text.partition("namespace test-")[2], text
    assert list(tmp_path.glob("knarr-*")) == []
    identities = [path.name for path in kept.iterdir()]
    assert 1 <= len(identities) <= max(1, int(workers))
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    there = docker("ps", "--all", "--format", "{{.Names}} {{.Labels}}") + docker("network", "ls") + tables + links
    assert not [identity for identity in identities if identity in there]
