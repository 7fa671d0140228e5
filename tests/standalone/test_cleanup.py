"""What `knarr down` says about what it cannot remove."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from knarr.service.errors import CommandError
from services.kubelet.node.mounts import MS_NODEV, mount_tmpfs, mounts_below
from services.kubelet.runtime.port import RuntimeFailure
from services.standalone import cleanup
from services.standalone.settings import ClusterSettings


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterSettings:
    """A cluster that has run, without engine and datapath."""
    settings = ClusterSettings(data_dir=tmp_path)
    settings.files.cluster_id()

    async def emptied(*_: object) -> int:
        return 2

    monkeypatch.setattr(cleanup, "remove_from_engine", emptied)
    monkeypatch.setattr(cleanup, "remove_datapath", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return settings


def test_what_stays_is_a_failure_that_holds_up_nothing_else(cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> int:
        raise RuntimeFailure("network has active endpoints")

    monkeypatch.setattr(cleanup, "remove_from_engine", refused)
    said = []
    with pytest.raises(CommandError, match=r"could not remove everything \(network has active endpoints\); run this again"):
        for line in cleanup.remove_everything(cluster):
            said.append(line)
    assert said == ["removed the datapath's rules, routes and addresses"]


@pytest.mark.parametrize("datapath", ["nftables", "userspace"])
def test_what_is_roots_to_remove_is_not_told_as_removed_by_others(
    cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch, datapath: str
) -> None:
    def tried(_: object) -> None:
        raise AssertionError("it has no right to")

    monkeypatch.setattr(cleanup, "remove_datapath", tried)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said, problem = [], ""
    try:
        for line in cleanup.remove_everything(replace(cluster, datapath=datapath)):
            said.append(line)
    except CommandError as error:
        problem = str(error)
    assert said == ["removed 2 containers and the pods' network"]
    assert problem == (
        "" if datapath == "userspace" else "the datapath's rules, routes and addresses are root's to remove: run `sudo knarr down`"
    )


@pytest.mark.net
def test_mounts_of_the_pods_are_ended_and_a_failure_to_do_so_is_told(cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    point = cluster.files.kubelet / "pods" / "a b" / "v"
    point.mkdir(parents=True)
    mount_tmpfs(point, 0o755, flags=MS_NODEV)

    def busy(folder: Path) -> None:
        raise OSError(16, os.strerror(16), str(point))

    with monkeypatch.context() as patch, pytest.raises(CommandError, match=r"is still mounted .*: delete nothing below it"):
        patch.setattr(cleanup, "unmount_all", busy)
        list(cleanup.remove_everything(cluster))
    assert f"unmounted {point}" in list(cleanup.remove_everything(cluster))
    assert not mounts_below(cluster.files.kubelet)
