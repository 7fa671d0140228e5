"""The order of the plugins is a promise to webhooks and policies: what each of them sees is what those before it made."""

from __future__ import annotations

from services.apiserver.admission import catalog

# All that Kubernetes 1.37 has, as its API server asks them.
KUBERNETES = """
AlwaysAdmit NamespaceAutoProvision NamespaceLifecycle NamespaceExists LimitPodHardAntiAffinityTopology LimitRanger ServiceAccount
NodeRestriction TaintNodesByCondition AlwaysPullImages ImagePolicyWebhook PodSecurity PodNodeSelector Priority DefaultTolerationSeconds
PodTolerationRestriction EventRateLimit ExtendedResourceToleration DefaultStorageClass StorageObjectInUseProtection PodGroupProtection
OwnerReferencesPermissionEnforcement PersistentVolumeClaimResize RuntimeClass CertificateApproval CertificateSigning
ClusterTrustBundleAttest CertificateSubjectRestriction DefaultIngressClass DenyServiceExternalIPs PodTopologyLabels
PodGroupWorkloadExists NodeDeclaredFeatureValidator JobValidation PodResizeValidator MutatingAdmissionPolicy MutatingAdmissionWebhook
ValidatingAdmissionPolicy ValidatingAdmissionWebhook ResourceQuota AlwaysDeny
"""
# Off there unless they are turned on, deprecated, or about kinds and features that are not served (docs/decisions/admission.md).
ABSENT = """
AlwaysAdmit NamespaceAutoProvision NamespaceExists LimitPodHardAntiAffinityTopology AlwaysPullImages ImagePolicyWebhook PodNodeSelector
PodTolerationRestriction EventRateLimit ExtendedResourceToleration PodGroupProtection DenyServiceExternalIPs PodGroupWorkloadExists
NodeDeclaredFeatureValidator JobValidation AlwaysDeny
"""


def test_it_is_that_of_kubernetes() -> None:
    assert list(catalog.NAMES) == [name for name in KUBERNETES.split() if name not in ABSENT.split()]


def test_those_of_ours_let_nobody_behind_them_change_what_they_wrote() -> None:
    names = [make.name for make in catalog.ALL]  # type: ignore[attr-defined]
    ours = [make.name for make in catalog.ALL if make in catalog.FIXED]  # type: ignore[attr-defined]
    first = names.index("MutatingAdmissionWebhook") + 1
    assert names[first : first + len(ours)] == ours == ["CertificateRequester", "PodCertificateSigning", "DeviceAdminAccess"]
