"""RootCertificate: every living namespace has a ConfigMap with the certificate by which its pods know the API server."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting

NAME = "kube-root-ca.crt"
KEY = "ca.crt"
DESCRIPTION = "kubernetes.io/description"
WORDS = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP "
    "or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


def decide(namespace: core.Namespace, found: core.ConfigMap | None, certificate: str) -> core.ConfigMap | None:
    """The ConfigMap as it is to be created, or updated where ``found`` is another; None when there is nothing to do."""
    if is_deleting(namespace) or namespace.status.phase == "Terminating":
        return None
    if found is not None and dict(found.data) == {KEY: certificate} and found.metadata.annotations.get(DESCRIPTION):
        return None
    wanted = core.ConfigMap() if found is None else copy_of(found)
    wanted.metadata.name, wanted.metadata.namespace = NAME, namespace.metadata.name
    wanted.metadata.annotations[DESCRIPTION] = WORDS
    wanted.data.clear()
    wanted.data[KEY] = certificate
    return wanted
