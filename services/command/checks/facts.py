"""What a cluster shows, read once for all checks."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from services.apiserver.rbac.defaults import BOOTSTRAPPED
from services.command.api import ApiClient, Refused

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
# Namespaces of the system's own.
SYSTEM = frozenset(("kube-system", "kube-public", "kube-node-lease"))


class Facts:
    """``folder`` is the data directory of a cluster on this machine; None where there is none here."""

    def __init__(self, api: ApiClient, folder: Path | None) -> None:
        self.api, self.folder = api, folder

    @cached_property
    def metrics(self) -> str:
        return self.api.text("GET", "/metrics").decode()

    @cached_property
    def pods(self) -> list[Any]:
        """Those that are no system's own."""
        return [pod for pod in self.api.objects("/api/v1/pods") if pod["metadata"]["namespace"] not in SYSTEM]

    @cached_property
    def namespaces(self) -> list[Any]:
        return list(self.api.objects("/api/v1/namespaces"))

    @cached_property
    def accounts(self) -> list[Any]:
        return list(self.api.objects("/api/v1/serviceaccounts"))

    @cached_property
    def nodes(self) -> list[Any]:
        return list(self.api.objects("/api/v1/nodes"))

    @cached_property
    def policies(self) -> list[Any]:
        return list(self.api.objects("/apis/networking.k8s.io/v1/networkpolicies"))

    @cached_property
    def roles(self) -> list[Any]:
        """All roles that are not Kubernetes' own, of namespaces and of the cluster."""
        found = [*self.api.objects(f"{RBAC}/clusterroles"), *self.api.objects(f"{RBAC}/roles")]
        return [role for role in found if not is_own(role)]

    @cached_property
    def bindings(self) -> list[Any]:
        """All bindings that are not Kubernetes' own."""
        found = [*self.api.objects(f"{RBAC}/clusterrolebindings"), *self.api.objects(f"{RBAC}/rolebindings")]
        return [binding for binding in found if not is_own(binding)]

    def may(self, user: str, groups: list[str], **attributes: str) -> bool:
        """Whether somebody would be allowed something."""
        spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer: Any = orjson.loads(self.api.text("POST", REVIEWS, orjson.dumps(body)))
        return bool(answer["status"].get("allowed"))

    def stranger_code(self, path: str) -> int:
        """HTTP's number for who names nobody."""
        try:
            self.api.text("GET", path, known=False)
        except Refused as refused:
            return refused.code
        return 200


def is_own(obj: Any) -> bool:
    """Whether every cluster has it from its beginning."""
    return bool(obj["metadata"].get("labels", {}).items() >= BOOTSTRAPPED.items())


def shown(obj: Any) -> str:
    metadata = obj["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])
