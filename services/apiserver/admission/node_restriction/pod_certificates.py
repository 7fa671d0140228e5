"""For which pods a node may ask for certificates: for those that it runs, as they are, and of whose signers they name. As in Kubernetes."""

from __future__ import annotations

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.pods import MIRROR
from knarr.objects.references import pod_certificates
from services.apiserver.admission.attributes import CREATE, Attributes
from services.apiserver.admission.permission import may
from services.apiserver.authorization import Authorizer, imagined
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.results import Ref

PODS, NODES, ACCOUNTS = (version_of(kind).resource for kind in (core.Pod, core.Node, core.ServiceAccount))
GROUP = version_of(certificates.PodCertificateRequest).group
ASKS_OF_SIGNER = "request-serviceaccounts-podcertificate-signer"


async def why_not(cache: WatchCache, authorizer: Authorizer | None, node: str, attributes: Attributes) -> str:
    """In words, empty where it may. What differs may be what this server has not heard of yet: the node asks again."""
    if attributes.operation != CREATE:
        return f"unexpected operation {attributes.operation}"
    if attributes.subresource:
        return f"unexpected subresource {attributes.subresource}"
    spec = attributes.obj.spec
    if spec.node_name != node:
        return f'PodCertificateRequest.Spec.NodeName="{spec.node_name}", which is not the requesting node "{node}"'
    entry = cache.get(PODS, attributes.namespace, spec.pod_name)
    pod = entry.shared_message if entry is not None else core.Pod()
    if words := _of_another(cache, spec, pod, attributes.namespace):
        return words
    if any(wanted.signer_name == spec.signer_name for wanted in pod_certificates(pod)):
        return ""
    wanted = Ref(imagined(GROUP, spec.signer_name.replace("/", ":")), attributes.namespace, spec.service_account_name)
    if authorizer is not None and await may(authorizer, attributes, ASKS_OF_SIGNER, wanted):
        return ""
    what = f'signer "{spec.signer_name}" not found in pod spec volume'
    return f"{what}, {attributes.user.name} is not authorized to request certificates of this signer"


def _of_another(cache: WatchCache, spec: certificates.PodCertificateRequestSpec, pod: core.Pod, namespace: str) -> str:
    """Whether the request speaks of another pod, node or account than those that are there."""
    said = f'PodCertificateRequest for pod "{namespace}/{spec.pod_name}"'
    if (found := _uid(cache, NODES, "", spec.node_name)) != spec.node_uid:
        return f'{said} names node UID "{spec.node_uid}", inconsistent with the running node ("{found}")'
    if pod.metadata.uid != spec.pod_uid:
        return f'{said} contains pod UID ("{spec.pod_uid}") which differs from running pod "{pod.metadata.uid}"'
    if pod.spec.node_name != spec.node_name:
        return f'pod "{namespace}/{spec.pod_name}" is not running on node "{spec.node_name}" named in the PodCertificateRequest'
    if MIRROR in pod.metadata.annotations:
        return f'pod "{namespace}/{spec.pod_name}" is a mirror pod'
    account = pod.spec.service_account_name
    if spec.service_account_name != account:
        return f'{said} contains serviceAccountName ("{spec.service_account_name}") that differs from running pod ("{account}")'
    if (found := _uid(cache, ACCOUNTS, namespace, account)) != spec.service_account_uid:
        return f'{said} names service account UID "{spec.service_account_uid}", which differs from the running service account ("{found}")'
    return ""


def _uid(cache: WatchCache, resource: Resource, namespace: str, name: str) -> str:
    """Empty where there is none of that name."""
    entry = cache.get(resource, namespace, name)
    return str(entry.shared_message.metadata.uid) if entry is not None else ""
