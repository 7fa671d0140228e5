"""The example provider as a process of its own, with a certificate and a token."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc

from knarr.service.certificates import CertificateAuthority
from services.cloud.providers.external.settings import ExternalSettings
from tests.support.cluster_client import ROOT
from tests.support.ports import free_port

EXAMPLE = ROOT / "examples" / "cloud-provider" / "provider.py"
START_SECONDS = 20.0


class ExampleProvider:
    """``start`` and ``kill`` as often as wanted; its cloud stays in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        authority = CertificateAuthority.create()
        authority.pair.save(folder, "ca")
        authority.issue("provider", hosts=["127.0.0.1"]).save(folder, "server")
        (folder / "token").write_text("a-secret\n")
        self.set_cloud(machines={}, addresses=["203.0.113.1", "203.0.113.2"])

    @property
    def settings(self) -> ExternalSettings:
        return ExternalSettings(self._address, ca_file=self._folder / "ca.crt", token_file=self._folder / "token")

    @property
    def cloud(self) -> dict[str, Any]:
        found: dict[str, Any] = {"balancers": {}, **json.loads((self._folder / "cloud.json").read_text())}
        return found

    def set_cloud(self, **content: Any) -> None:
        file = self._folder / "cloud.json"
        kept = json.loads(file.read_text()) if file.exists() else {}
        (self._folder / "cloud.own").write_text(json.dumps({**kept, **content}))
        (self._folder / "cloud.own").replace(file)

    def start(self) -> None:
        """Returns once it takes connections."""
        names = {"cert": "server.crt", "key": "server.key", "token": "token", "cloud": "cloud.json"}
        options = [f"--{option}={self._folder / name}" for option, name in names.items()]
        self._process = subprocess.Popen([sys.executable, str(EXAMPLE), f"--listen={self._address}", *options], cwd=ROOT)
        tls = grpc.ssl_channel_credentials((self._folder / "ca.crt").read_bytes())
        with grpc.secure_channel(self._address, tls) as channel:
            grpc.channel_ready_future(channel).result(START_SECONDS)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
