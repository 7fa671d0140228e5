"""A cluster made by an earlier Knarr: how it is made, how it is asked, and what must be in it later.

Everything here goes through the command, the files and the REST API: what it is made by may be any commit.
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMATS = Path(__file__).with_name("formats")
OBJECTS = Path(__file__).with_name("objects.yaml")
REFUSED = Path(__file__).with_name("refused.yaml")
# Not 0: they are kept with the settings. Those who start a kept cluster choose others.
PORTS = {
    name: 24100 + number
    for number, name in enumerate(("rest", "apiserver", "kubelet", "proxy", "controller", "scheduler", "dns", "cloud", "nameserver"))
}
SETTINGS = {
    "runtime": "hollow",
    "datapath": "userspace",
    "node-name": "kept-node",
    "service-cidr": "10.61.0.0/16",
    "cluster-cidr": "10.62.0.0/16",
    "pod-cidr": "10.62.3.0/24",
    "load-balancer-pool": "10.63.0.0/24",
    "cluster-domain": "kept.example",
    "log-style": "json",
    "log-level": "warning",
}
# What a start of the compose cluster's trust service is told.
TRUST = (
    "--apiserver=192.0.2.10", "--scheduler=192.0.2.10", "--controller=192.0.2.30", "--cloud=192.0.2.10", "--dns=192.0.2.41",
    "--etcd=192.0.2.50", "--node=node-1=192.0.2.11", "--node=node-2=192.0.2.12", "--server=https://127.0.0.1:6443",
)  # fmt: skip


def identity(resource: str, obj: dict[str, Any]) -> str:
    return f"{resource}/{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any


class Api:
    """The REST API as one caller sees it: by a bearer token, or by the client certificate of a kubeconfig."""

    def __init__(self, server: str, context: ssl.SSLContext, token: str = "") -> None:
        self._server, self._context, self._token = server, context, token

    @classmethod
    def by_token(cls, data_dir: Path, server: str, token: str) -> Api:
        return cls(server, ssl.create_default_context(cafile=str(data_dir / "pki/ca.crt")), token)

    @classmethod
    def by_kubeconfig(cls, text: str, server: str) -> Api:
        """With the certificates that the kubeconfig holds; ``server`` is asked instead of its own."""
        config = json.loads(text)
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            file.flush()
            context.load_cert_chain(file.name)
        return cls(server, context)

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Answer:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server + path, data, {"Content-Type": content_type}, method=method)
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context))
        try:
            with opener.open(request, timeout=10) as answer:
                return Answer(answer.status, json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.load(error))

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.body

    def everything(self) -> dict[str, dict[str, Any]]:
        """All objects of all kinds that discovery names, by ``resource/namespace/name``, with their path as ``path``."""
        groups = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in self.get("/apis")["groups"])]
        found: dict[str, dict[str, Any]] = {}
        for group in groups:
            for resource in self.get(group)["resources"]:
                if "/" in resource["name"] or "list" not in resource["verbs"]:
                    continue
                for item in self.get(f"{group}/{resource['name']}")["items"]:
                    namespace = item["metadata"].get("namespace")
                    folder = f"{group}/namespaces/{namespace}" if namespace else group
                    item["path"] = f"{folder}/{resource['name']}/{item['metadata']['name']}"
                    found.setdefault(identity(resource["name"], item), item)
        return found


def part_of(old: Any, new: Any) -> bool:
    """Whether ``new`` has all that ``old`` has; a later version may add defaults."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and part_of(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(part_of(one, other) for one, other in zip(old, new, strict=True))
    return bool(old == new)


def content(obj: dict[str, Any]) -> dict[str, Any]:
    """What a person or a controller has put into it, without what says how it fares."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in ("resourceVersion", "generation", "managedFields")}
    return {**{key: value for key, value in obj.items() if key not in ("path", "status")}, "metadata": metadata}
