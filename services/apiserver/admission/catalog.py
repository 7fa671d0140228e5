"""The admission plugins in their order, which is Kubernetes', matters and is data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from services.apiserver.admission.certificate_requester.plugin import CertificateRequester
from services.apiserver.admission.chain import Chain
from services.apiserver.admission.limit_ranger.plugin import LimitRanger
from services.apiserver.admission.mutating_admission_webhook.plugin import MutatingAdmissionWebhook
from services.apiserver.admission.namespace_lifecycle.plugin import NamespaceLifecycle
from services.apiserver.admission.node_restriction.plugin import NodeRestriction
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.plugin import Plugin
from services.apiserver.admission.priority.plugin import Priority
from services.apiserver.admission.resource_quota.plugin import ResourceQuota
from services.apiserver.admission.service_account.plugin import ServiceAccount
from services.apiserver.admission.storage_object_in_use_protection.plugin import StorageObjectInUseProtection
from services.apiserver.admission.validating_admission_webhook.plugin import ValidatingAdmissionWebhook
from services.apiserver.backend import Backend

# Makes a plugin that reads other objects from the backend.
Factory = Callable[[Backend], Plugin]

PLUGINS: Sequence[Factory] = (
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    Priority,
    StorageObjectInUseProtection,
    CertificateRequester,
    # Behind all that the server itself changes.
    MutatingAdmissionWebhook,
    ValidatingAdmissionWebhook,
    ResourceQuota,
)
# Those that ask others, or judge by expressions that ask the authorizer.
ASKING: Sequence[Factory] = (MutatingAdmissionWebhook, ValidatingAdmissionWebhook)


def mounting_tokens(plugins: Sequence[Factory]) -> Sequence[Factory]:
    """The same where the API server issues tokens: then pods have theirs."""
    return [partial(ServiceAccount, mounts_tokens=True) if make is ServiceAccount else make for make in plugins]


def asking(plugins: Sequence[Factory], outside: Outside) -> Sequence[Factory]:
    """The same where the API server has somebody to ask."""
    return [partial(make, outside=outside) if make in ASKING else make for make in plugins]  # type: ignore[call-arg]


def chain(backend: Backend, plugins: Sequence[Factory] = PLUGINS) -> Chain:
    return Chain([make(backend) for make in plugins])
