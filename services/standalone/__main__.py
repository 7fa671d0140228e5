"""A cluster's own process, in the foreground: ``python -m services.standalone`` with the options of ``knarr up``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from knarr.service.errors import CommandError
from services.standalone.launch import run
from services.standalone.lock import held
from services.standalone.options import add_settings, settings_from
from services.standalone.progress import Progress
from services.standalone.settings import ClusterSettings


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m services.standalone", usage="%(prog)s [OPTION]...", description="Run a cluster in the foreground."
    )
    add_settings(parser)
    parser.add_argument("--progress-fd", type=int, metavar="FD", help="file descriptor of a pipe that is told how the start goes")
    parser.add_argument("--since", type=float, metavar="SECONDS", help="when somebody began to wait for this, by the monotonic clock")
    parser.add_argument("--lock-fd", type=int, metavar="FD", help="file descriptor by which whoever starts this holds the data directory")
    parser.add_argument("--log-file", type=Path, metavar="FILE", help="where standard error leads; begun anew when it is too long")
    arguments = parser.parse_args()
    for descriptor in (arguments.progress_fd, arguments.lock_fd):
        if descriptor is not None:
            os.set_inheritable(descriptor, False)
    # gRPC reads this when it is first imported. Its event engine hands every answer from thread to thread; without
    # it the thread that waits for answers reads them too.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client")
    # What imports make stays: looking through it for garbage is a tenth of their time.
    gc.disable()
    with ExitStack() as stack:
        try:
            files = ClusterSettings(data_dir=arguments.data_dir).files
            files.prepare()
            if arguments.lock_fd is None:
                stack.enter_context(held(files.root))
            settings = settings_from(arguments.data_dir, vars(arguments))
        except CommandError as error:
            sys.exit(f"error: {error}")
        raise SystemExit(run(settings, Progress(arguments.progress_fd, arguments.since), arguments.log_file))


if __name__ == "__main__":
    main()
