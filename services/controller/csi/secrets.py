"""Secrets that a StorageClass names for the calls about its volumes, by templates over the volume and its claim.

Specified by Kubernetes' external provisioner: the namespace may come from the claim's, never from what its user writes; a name may.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.machinery.errors import NotFound
from knarr.machinery.validation import dns1123_label, dns1123_subdomain
from services.controller.csi.capabilities import Refused

PREFIX = "csi.storage.k8s.io/"
# By what they are for: how parameters call them, how errors do, and what older parameters were called.
CALLS = {
    "": "Default",
    "provisioner-": "Provisioner",
    "controller-publish-": "ControllerPublish",
    "node-stage-": "NodeStage",
    "node-publish-": "NodePublish",
    "controller-expand-": "ControllerExpand",
    "node-expand-": "NodeExpand",
    "controller-modify-": "ControllerModify",
}
OLDER = frozenset({"Provisioner", "ControllerPublish", "NodeStage", "NodePublish"})
KNOWN = frozenset(f"{PREFIX}{call}secret-{part}" for call in CALLS for part in ("name", "namespace"))
# On a volume: the Secret by which its driver modifies it.
MODIFY_SECRET = ("volume.kubernetes.io/controller-modify-secret-name", "volume.kubernetes.io/controller-modify-secret-namespace")
_TOKEN = re.compile(r"\$\{([^}]*)\}")


def reference(call: str, parameters: Mapping[str, str], volume: str, claim: core.PersistentVolumeClaim) -> core.SecretReference | None:
    """The Secret for a kind of call, as ``CALLS`` names them; None where there is none. ``volume``: the PersistentVolume's name.

    Raises Refused.
    """
    found = _templates(call, parameters) or _templates("", parameters)
    if found is None:
        return None
    name, namespace = found
    metadata = claim.metadata
    of_namespace = {"pv.name": volume, "pvc.namespace": metadata.namespace}
    of_name = of_namespace | {"pvc.name": metadata.name}
    of_name |= {f"pvc.annotations['{key}']": value for key, value in metadata.annotations.items()}
    made = core.SecretReference(namespace=_resolved(namespace, of_namespace), name=_resolved(name, of_name))
    if dns1123_label(made.namespace):
        raise Refused(f"{_named(namespace, made.namespace)} not a valid namespace name")
    if dns1123_subdomain(made.name):
        raise Refused(f"{_named(name, made.name)} not a valid secret name")
    return made


async def contents(client: Client, wanted: core.SecretReference | None) -> dict[str, str]:
    """What a Secret holds, for a call. Raises Refused where it is not there, or holds what is no text."""
    if wanted is None or not wanted.name:
        return {}
    try:
        secret = await client.get(core.Secret, wanted.name, wanted.namespace)
    except NotFound as error:
        raise Refused(f"error getting secret {wanted.name} in namespace {wanted.namespace}: {error}") from error
    try:
        return {key: value.decode() for key, value in secret.data.items()}
    except UnicodeDecodeError as error:
        raise Refused(f"secret {wanted.namespace}/{wanted.name} holds bytes that are no text, which no driver can be told") from error


def _templates(call: str, parameters: Mapping[str, str]) -> tuple[str, str] | None:
    word = CALLS[call]
    names, namespaces = ([parameters[key] for key in _keys(call, part) if key in parameters] for part in ("name", "namespace"))
    if len(names) > 1 or len(namespaces) > 1:
        raise Refused(f'{word} secrets specified in parameters with both "csi" and "{PREFIX}" keys')
    if len(names) != len(namespaces):
        raise Refused(f"either name and namespace for {word} secrets specified, Both must be specified")
    if not names:
        return None
    if not names[0] or not namespaces[0]:
        raise Refused(f"{word} secrets specified in parameters but value of either namespace or name is empty")
    return names[0], namespaces[0]


def _keys(call: str, part: str) -> list[str]:
    word = CALLS[call]
    older = [f"csi{word}Secret{part.title()}"] if word in OLDER else []
    return [f"{PREFIX}{call}secret-{part}", *older]


def _resolved(template: str, values: Mapping[str, str]) -> str:
    if missing := sorted({token for token in _TOKEN.findall(template) if token not in values}):
        raise Refused(f'error resolving value "{template}": invalid tokens: {missing}')
    return _TOKEN.sub(lambda match: values[match[1]], template)


def _named(template: str, resolved: str) -> str:
    return f'"{resolved}" is' if template == resolved else f'"{template}" resolved to "{resolved}" which is'
