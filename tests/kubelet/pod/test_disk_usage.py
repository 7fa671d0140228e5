"""Measuring what an emptyDir holds."""

from __future__ import annotations

import os
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.disk_usage import disk_limits, exceeds

MI = 1 << 20


def test_only_volumes_on_the_disk_with_a_limit_are_measured() -> None:
    pod = core.Pod()
    for name, limit, medium in (("disk", "1Mi", ""), ("memory", "1Mi", "Memory"), ("none", "", ""), ("zero", "0", "")):
        source = pod.spec.volumes.add(name=name).volume_source.empty_dir
        source.medium = medium
        if limit:
            source.size_limit.string = limit
    pod.spec.volumes.add(name="other").volume_source.host_path.path = "/"
    assert disk_limits(pod) == {"disk": "1Mi"}


def test_blocks_are_counted_once_and_never_outside(tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "deep" / "er").mkdir(parents=True)
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 4 * MI)
    (volume / "link").symlink_to(outside)
    (volume / "deep" / "file").write_bytes(b"x" * MI)
    for number in range(5):
        os.link(volume / "deep" / "file", volume / "deep" / "er" / str(number))
    with (volume / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert not exceeds(volume, 2 * MI)
    assert exceeds(volume, MI // 2)
    assert not exceeds(tmp_path / "gone", 0)
