"""The background process: ``python -m services.standalone`` with the options of ``knarr up``."""

from __future__ import annotations

import argparse
import gc
import os

from services.standalone.options import add_settings, settings_from


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.standalone", description="Run a cluster in the foreground.")
    add_settings(parser)
    parser.add_argument("--progress-fd", type=int, help="file descriptor of a pipe that is told how the start goes")
    arguments = parser.parse_args()
    if arguments.progress_fd is not None:
        os.set_inheritable(arguments.progress_fd, False)
    # gRPC reads this when it is first imported. Its event engine hands every answer of etcd from thread to thread; without
    # it the thread that waits for answers reads them too.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client")
    # What imports make stays: looking through it for garbage is a tenth of their time.
    gc.disable()
    from services.standalone.background import run

    raise SystemExit(run(settings_from(arguments), arguments.progress_fd))


if __name__ == "__main__":
    main()
