"""The first moments of a cluster's process: etcd gets ready while all the rest is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from knarr.service import collector
from services.standalone.etcd_process import EtcdProcess
from services.standalone.progress import Progress
from services.standalone.settings import MEMORY, ClusterSettings


def run(settings: ClusterSettings, progress: Progress, log_file: Path | None = None) -> int:
    """Runs a cluster until SIGTERM or SIGINT; its exit code. The caller holds the data directory."""
    # What pods may read does not depend on who started the cluster; what is secret is closed by name (knarr/service/files.py).
    os.umask(0o022)
    collector.share_heap()
    etcd = EtcdProcess(settings.files.etcd) if settings.store != MEMORY else None
    if etcd is not None:
        etcd.launch()
    # Most of a start is to load all that is imported here.
    from services.standalone.background import run as run_cluster

    return run_cluster(settings, etcd, progress, log_file)
