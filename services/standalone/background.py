"""The life of a cluster's process: loop, signals, pid file, exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal

import uvloop

from knarr.service import logs
from services.standalone import process
from services.standalone.cluster import Cluster
from services.standalone.progress import Progress
from services.standalone.settings import ClusterSettings

log = logging.getLogger(__name__)


def run(settings: ClusterSettings, progress_fd: int | None = None) -> int:
    """Runs a cluster until SIGTERM or SIGINT; 0 after an orderly stop."""
    logs.configure(settings.log_style, settings.log_level)
    progress = Progress(progress_fd)
    files = settings.files
    files.prepare()
    process.write_pid(files)
    # Start-up makes many objects that stay; collecting over them again and again is waste.
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(settings, progress))
    except Exception as error:
        log.exception("the cluster failed")
        progress.error(f"{type(error).__name__}: {error}; the log is {files.log}")
        return 1
    finally:
        files.pid.unlink(missing_ok=True)


async def _run(settings: ClusterSettings, progress: Progress) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    cluster = Cluster(settings, progress)
    work = asyncio.create_task(cluster.run(), name="cluster")
    waiting = asyncio.create_task(stop.wait(), name="stop-signal")
    await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        waiting.cancel()
        work.result()
        return 0
    log.info("stopping")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    log.info("stopped")
    return 0
