"""A cluster of several machines that slept until all of its certificates had expired goes on by itself once they are made anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from knarr.service import certificates
from tests.support.trusted import NODE, PARTS, TrustedCluster

pytestmark = [pytest.mark.etcd, pytest.mark.cluster, pytest.mark.timeout(240)]

# All look at their certificates every five seconds.
AWAKE_SECONDS = 60.0


@pytest.fixture
def slept(tmp_path: Path) -> Iterator[TrustedCluster]:
    """Every certificate but the authorities' own is of yesterday."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "CLOCK_SKEW", timedelta(days=2))
        patch.setattr(certificates, "LEAF_LIFETIME", timedelta(days=-1))
        made = TrustedCluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def test_nothing_has_to_be_started_again(slept: TrustedCluster) -> None:
    slept.etcd.spawn()
    slept.start(*PARTS)
    for part in PARTS:
        slept.wait_for(f"{part} to listen", lambda part=part: "listening" in (slept.data_dir / f"{part}.log").read_text())  # type: ignore[misc]
    # Its log tells of the first of its ports, and kubectl asks at another.
    slept.wait_for("the refusal", lambda: "certificate has expired" in slept.kubectl("get", "nodes", check=False).stderr)
    before = {part: process.pid for part, process in slept.processes.items()}

    slept.make_trust()
    ready = ("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=1s")
    slept.wait_for("the node", lambda: slept.kubectl(*ready, check=False).returncode == 0, AWAKE_SECONDS)
    slept.kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2")
    slept.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert slept.kubectl("logs", "deployment/web", check=False).returncode == 0
    assert {part: process.pid for part, process in slept.processes.items() if process.poll() is None} == before
