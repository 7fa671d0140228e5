"""The life of a cluster's process: loop, signals, pid file, exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import suppress
from pathlib import Path

import uvloop

from knarr.service import collector, logs
from knarr.service.command import until_signalled
from knarr.service.errors import CommandError
from services.dns.component import Dns
from services.gateway.component import Gateway
from services.kubelet.cgroups.freezer import Freezer
from services.proxy.component import Proxy
from services.standalone import process
from services.standalone.cluster import Cluster
from services.standalone.etcd_process import EtcdProcess
from services.standalone.leftovers.owner import mark
from services.standalone.node_groups import node_groups
from services.standalone.progress import Progress
from services.standalone.settings import ClusterSettings

log = logging.getLogger(__name__)

# Loaded while etcd gets ready, and not when they are made; a cluster for tests does without them.
LOADED = (Dns, Gateway, Proxy)


def run(settings: ClusterSettings, etcd: EtcdProcess | None, progress: Progress, log_file: Path | None = None) -> int:
    """Runs a cluster until SIGTERM or SIGINT; 0 after an orderly stop. The caller holds the data directory."""
    logs.configure(settings.log_style, settings.log_level, log_file)
    files = settings.files
    files.sweep()
    settings.save()
    # A cluster that was killed has left its own there.
    files.state.unlink(missing_ok=True)
    process.write_pid(files)
    shown = mark(files.cluster_id())
    # One that was killed while it was paused has left its containers so.
    with suppress(OSError):
        for group in node_groups(settings):
            Freezer(group).thaw()
    # Start-up makes many objects that stay; collecting over them again and again is waste.
    gc.disable()
    collector.spare_loaded()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signalled(Cluster(settings, progress, etcd, on_ready=collector.settle).run))
            return 0
    except CommandError as error:
        log.critical(str(error))
        progress.error(str(error))
        return 1
    except Exception as error:
        log.exception("the cluster failed")
        progress.error(f"{type(error).__name__}: {error}; the log is {files.log}")
        return 1
    finally:
        shown.close()
        with suppress(OSError):
            files.pid.unlink(missing_ok=True)
