"""A plugin that is a process of its own: what a profile says of it, and as what it stands among the others. Pure.

It judges nodes before the decision is made, beside it (``remote``); what it said is an argument of the decision.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, ClassVar

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, invalid, not_supported, required
from knarr.service.options import address
from services.scheduler.advice import AdviceFailed
from services.scheduler.parts import NODE_ALLOCATABLE, Part, Subject
from services.scheduler.plugin import Cluster, Plugin
from services.scheduler.seconds import Seconds

FAIL, IGNORE = "Fail", "Ignore"
ONE_SECOND, ONE_MINUTE = Seconds(1.0), Seconds(60.0)
_NODE_PATHS = ("metadata.labels", "metadata.annotations", "spec", "status.capacity", "status.images", "status.nodeInfo")
_POD_PATHS = ("metadata.labels", "metadata.annotations", "spec")


@dataclass(frozen=True, slots=True)
class SchedulerPluginServiceArgs:
    """How the process is reached, how long it may take, and what becomes of pods when it does not answer."""

    # By this kind of arguments a profile says that a plugin is a process of its own.
    KIND: ClassVar[str] = "SchedulerPluginServiceArgs"

    address: str = ""
    ca_file: str = ""
    server_name: str = ""
    cert_file: str = ""
    key_file: str = ""
    token_file: str = ""
    # Speak without TLS.
    insecure: bool = False
    timeout: Seconds = ONE_SECOND
    pre_bind_timeout: Seconds = ONE_MINUTE
    # Fail: its pods wait. Ignore: they are placed without it.
    failure_policy: str = FAIL

    @property
    def ignorable(self) -> bool:
        return self.failure_policy == IGNORE

    def problems(self, path: Path) -> Iterator[Cause]:
        yield from self._check_address(path.child("address"))
        for name, value in (("timeout", self.timeout), ("preBindTimeout", self.pre_bind_timeout)):
            if value <= 0:
                yield invalid(path.child(name), f"{value:g}s", "must be greater than zero")
        if self.failure_policy not in (FAIL, IGNORE):
            yield not_supported(path.child("failurePolicy"), self.failure_policy, [FAIL, IGNORE])
        yield from self._check_tls(path)

    def _check_address(self, path: Path) -> Iterator[Cause]:
        if not self.address:
            yield required(path, "must be host:port")
            return
        try:
            address(self.address)
        except argparse.ArgumentTypeError as error:
            yield invalid(path, self.address, str(error))

    def _check_tls(self, path: Path) -> Iterator[Cause]:
        files = {"caFile": self.ca_file, "certFile": self.cert_file, "keyFile": self.key_file, "tokenFile": self.token_file}
        if self.insecure and any(files.values()):
            yield invalid(
                path.child("insecure"), True, f"without TLS there is no use for {', '.join(name for name in files if files[name])}"
            )
        if not self.insecure and not self.ca_file:
            yield required(path.child("caFile"), "the certificate of the plugin's authority; or set insecure to speak without TLS")
        if bool(self.cert_file) != bool(self.key_file):
            missing = "keyFile" if self.cert_file else "certFile"
            yield required(path.child(missing), "a certificate is shown with its key")
        for name, file in files.items():
            if file and not File(file).is_file():
                yield invalid(path.child(name), file, "there is no such file")


class RemotePlugin(Plugin):
    """One of some name (``remote_plugin``). It has no filter and no score of its own: it is asked beforehand.

    What it goes by only it knows: it is told of all these parts, and a change in one of them tries the pods again that it refused.
    """

    Args: ClassVar[type[Any] | None] = SchedulerPluginServiceArgs
    helped_by_arrivals: ClassVar[bool] = True
    across: ClassVar[bool] = True
    reads: ClassVar[frozenset[Part]] = (
        frozenset({NODE_ALLOCATABLE, Part(Subject.PLACED, "metadata.deletionTimestamp")})
        | {Part(Subject.NODE, path) for path in _NODE_PATHS}
        | {Part(subject, path) for path in _POD_PATHS for subject in (Subject.POD, Subject.PLACED)}
    )

    def __init__(self, cluster: Cluster, args: SchedulerPluginServiceArgs) -> None:
        super().__init__(cluster)
        self.args = args


def remote_plugin(name: str) -> type[RemotePlugin]:
    """The one of a name."""
    return type(name, (RemotePlugin,), {"name": name})


class RemoteFailed(AdviceFailed):
    """Of such a plugin. ``answered``: it is what the plugin says itself of a pod."""

    def __init__(self, by: str, words: str, *, answered: bool = False) -> None:
        super().__init__(words)
        self.by, self.answered = by, answered
