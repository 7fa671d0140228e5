"""``python -m services.standalone.fellows``: begins fellows for a cluster's process.

Each is a copy of this process, which has loaded all that a node needs and done nothing yet: so it is there at once, and has in common with
the others what stays as it was loaded. It ends with the cluster's process, and its fellows with it.
"""

from __future__ import annotations

import argparse
import gc
import os
import selectors
import signal
import socket
import time
from contextlib import suppress

from services.standalone.etcd_process import die_with
from services.standalone.fellows import node
from services.standalone.fellows.order import MOST_BYTES, Ended, Start, Stop, read, written

# How long fellows may take to end when all of them are to.
END_SECONDS = 8.0


class Spawner:
    """``channel`` leads to the cluster's process."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        # By number, and by the descriptors of their processes.
        self._pids: dict[int, int] = {}
        self._numbers: dict[int, int] = {}

    def run(self) -> None:
        """Returns when the cluster's process wants no more, and all have ended."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._channel:
                    if not self._hear():
                        self._end_all()
                        return
                else:
                    self._bury(key.fd)

    def _hear(self) -> bool:
        data = self._channel.recv(MOST_BYTES)
        if not data:
            return False
        match read(data):
            case Start() as order if order.number not in self._pids:
                self._start(order)
            case Stop(number) if pid := self._pids.get(number):
                os.kill(pid, signal.SIGTERM)
        return True

    def _start(self, order: Start) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(order, parent)
        self._pids[order.number] = pid
        descriptor = os.pidfd_open(pid)
        self._numbers[descriptor] = order.number
        self._selector.register(descriptor, selectors.EVENT_READ)

    def _become(self, order: Start, parent: int) -> None:
        """In the child; never returns."""
        code = 1
        try:
            die_with(parent)
            self._selector.close()
            self._channel.close()
            for descriptor in self._numbers:
                os.close(descriptor)
            node.default_signals()
            code = node.run(order)
        finally:
            os._exit(code)

    def _bury(self, descriptor: int) -> None:
        number = self._numbers.pop(descriptor)
        self._selector.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(self._pids.pop(number), 0)
        with suppress(OSError):
            self._channel.send(written(Ended(number, os.waitstatus_to_exitcode(status))))

    def _end_all(self) -> None:
        for pid in self._pids.values():
            os.kill(pid, signal.SIGTERM)
        self._selector.unregister(self._channel)
        deadline = time.monotonic() + END_SECONDS
        while self._pids:
            if not (ended := self._selector.select(max(deadline - time.monotonic(), 0))):
                for pid in self._pids.values():
                    os.kill(pid, signal.SIGKILL)
                deadline = time.monotonic() + END_SECONDS
            for key, _ in ended:
                self._bury(key.fd)


def main() -> None:
    parser = argparse.ArgumentParser(description="Begin the nodes of a cluster on one machine that have a network of their own.")
    parser.add_argument("--channel", type=int, required=True, metavar="FD", help="a socket that leads to the cluster's process")
    arguments = parser.parse_args()
    # Its parent says when; who is at a terminal means that one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(arguments.channel, False)
    # What was loaded stays, and is never looked through: a page that nobody writes is every fellow's.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=arguments.channel) as channel:
        Spawner(channel).run()


if __name__ == "__main__":
    main()
