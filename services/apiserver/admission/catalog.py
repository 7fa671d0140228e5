"""The admission plugins in their order, which is Kubernetes', matters and is data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from services.apiserver.admission.certificate_approval.plugin import CertificateApproval
from services.apiserver.admission.certificate_requester.plugin import CertificateRequester
from services.apiserver.admission.certificate_signing.plugin import CertificateSigning
from services.apiserver.admission.certificate_subject_restriction.plugin import CertificateSubjectRestriction
from services.apiserver.admission.chain import Chain
from services.apiserver.admission.cluster_trust_bundle_attest.plugin import ClusterTrustBundleAttest
from services.apiserver.admission.default_ingress_class.plugin import DefaultIngressClass
from services.apiserver.admission.default_storage_class.plugin import DefaultStorageClass
from services.apiserver.admission.default_toleration_seconds.plugin import DefaultTolerationSeconds
from services.apiserver.admission.device_admin_access.plugin import DeviceAdminAccess
from services.apiserver.admission.limit_ranger.plugin import LimitRanger
from services.apiserver.admission.mutating_admission_policy.plugin import MutatingAdmissionPolicy
from services.apiserver.admission.mutating_admission_webhook.plugin import MutatingAdmissionWebhook
from services.apiserver.admission.namespace_lifecycle.plugin import NamespaceLifecycle
from services.apiserver.admission.node_restriction.plugin import NodeRestriction
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.owner_references_permission_enforcement.plugin import OwnerReferencesPermissionEnforcement
from services.apiserver.admission.persistent_volume_claim_resize.plugin import PersistentVolumeClaimResize
from services.apiserver.admission.plugin import Plugin
from services.apiserver.admission.pod_certificate_signing.plugin import PodCertificateSigning
from services.apiserver.admission.pod_resize_validator.plugin import PodResizeValidator
from services.apiserver.admission.pod_security.plugin import PodSecurity
from services.apiserver.admission.pod_topology_labels.plugin import PodTopologyLabels
from services.apiserver.admission.priority.plugin import Priority
from services.apiserver.admission.resource_quota.plugin import ResourceQuota
from services.apiserver.admission.runtime_class.plugin import RuntimeClass
from services.apiserver.admission.service_account.plugin import ServiceAccount
from services.apiserver.admission.storage_object_in_use_protection.plugin import StorageObjectInUseProtection
from services.apiserver.admission.taint_nodes_by_condition.plugin import TaintNodesByCondition
from services.apiserver.admission.validating_admission_policy.plugin import ValidatingAdmissionPolicy
from services.apiserver.admission.validating_admission_webhook.plugin import ValidatingAdmissionWebhook
from services.apiserver.authorization import Authorizer
from services.apiserver.backend import Backend

# Makes a plugin that reads other objects from the backend.
Factory = Callable[[Backend], Plugin]

ALL: Sequence[Factory] = (
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    OwnerReferencesPermissionEnforcement,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    PodTopologyLabels,
    PodResizeValidator,
    # Behind all that the server itself changes.
    MutatingAdmissionPolicy,
    MutatingAdmissionWebhook,
    # Nobody behind it says who asked.
    CertificateRequester,
    PodCertificateSigning,
    DeviceAdminAccess,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook,
    ResourceQuota,
)
# Those that ask others, or judge by expressions that ask the authorizer.
ASKING: frozenset[Factory] = frozenset(
    {MutatingAdmissionPolicy, MutatingAdmissionWebhook, ValidatingAdmissionPolicy, ValidatingAdmissionWebhook}
)
# Those that are off unless they are turned on.
OFF: frozenset[Factory] = frozenset({OwnerReferencesPermissionEnforcement})
# Those that nobody turns off: what they write is trusted.
FIXED: frozenset[Factory] = frozenset({CertificateRequester, PodCertificateSigning, DeviceAdminAccess})
PLUGINS: Sequence[Factory] = tuple(make for make in ALL if make not in OFF)
# Those that ask what else the caller may do.
ASKING_PERMISSION: frozenset[Factory] = frozenset(
    {
        NodeRestriction,
        OwnerReferencesPermissionEnforcement,
        CertificateApproval,
        CertificateSigning,
        ClusterTrustBundleAttest,
        PodCertificateSigning,
    }
)
NAMES: Mapping[str, Factory] = {make.name: make for make in ALL if make not in FIXED}  # type: ignore[attr-defined]


def chosen(plugins: Sequence[Factory], enabled: Collection[str], disabled: Collection[str]) -> Sequence[Factory]:
    """The plugins with those besides that are turned on, and without those that are turned off; by name, in their order."""
    if not enabled and not disabled:
        return plugins
    wanted = {*plugins, *(NAMES[name] for name in enabled)} - {NAMES[name] for name in disabled}
    return [make for make in ALL if make in wanted] + [make for make in plugins if make not in ALL]


def configured(plugins: Sequence[Factory], configurations: Mapping[str, Any]) -> Sequence[Factory]:
    """The same with what an administrator says of them, by name."""
    return [
        partial(make, configuration=configurations[name]) if (name := getattr(make, "name", "")) in configurations else make  # type: ignore[call-arg]
        for make in plugins
    ]


def asking_permission(plugins: Sequence[Factory], authorizer: Authorizer) -> Sequence[Factory]:
    """The same where there is somebody to ask."""
    return _given(plugins, ASKING_PERMISSION, authorizer=authorizer)


def mounting_tokens(plugins: Sequence[Factory]) -> Sequence[Factory]:
    """The same where the API server issues tokens: then pods have theirs."""
    return _given(plugins, {ServiceAccount}, mounts_tokens=True)


def asking(plugins: Sequence[Factory], outside: Outside) -> Sequence[Factory]:
    """The same where the API server has somebody to ask."""
    return _given(plugins, ASKING, outside=outside)


def _given(plugins: Sequence[Factory], those: Collection[Factory], **more: Any) -> Sequence[Factory]:
    """The same, those of them made with something more."""
    return [partial(make, **more) if make in those else make for make in plugins]


def chain(backend: Backend, plugins: Sequence[Factory] = PLUGINS) -> Chain:
    return Chain([make(backend) for make in plugins])
