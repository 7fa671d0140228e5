"""Who may do what, when and how much: coordination, rbac, certificates, admissionregistration, flowcontrol."""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.api.flowcontrol.v1beta1 import flowcontrol_pb2 as old_flowcontrol
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.catalog.parts import STATUS, retired, v1
from knarr.machinery.conversions.retired import FLOW_SCHEMA_V1BETA1, LEVEL_V1BETA1
from knarr.machinery.resources import Conversion, Resource, Subresource, Version

RBAC, CERTIFICATES = "rbac.authorization.k8s.io", "certificates.k8s.io"
ADMISSION, FLOWCONTROL = "admissionregistration.k8s.io", "flowcontrol.apiserver.k8s.io"
FORMER_FLOWCONTROL = tuple(f"{FLOWCONTROL}/{version}" for version in ("v1beta3", "v1beta2"))
EXTENSIONS = ("api-extensions",)


def _flowcontrol_v1beta1(message: type[Message], list_message: type[Message], conversion: Conversion) -> Version:
    return retired(FLOWCONTROL, "v1beta1", message, list_message, conversion, since="1.23", until="1.26")


RESOURCES: tuple[Resource, ...] = (
    Resource(
        "leases",
        (v1("coordination.k8s.io", coordination.Lease, coordination.LeaseList),),
        formerly=("coordination.k8s.io/v1beta1",),
    ),
    Resource("roles", (v1(RBAC, rbac.Role, rbac.RoleList),)),
    Resource("rolebindings", (v1(RBAC, rbac.RoleBinding, rbac.RoleBindingList),)),
    Resource("clusterroles", (v1(RBAC, rbac.ClusterRole, rbac.ClusterRoleList),), namespaced=False),
    Resource("clusterrolebindings", (v1(RBAC, rbac.ClusterRoleBinding, rbac.ClusterRoleBindingList),), namespaced=False),
    Resource(
        "certificatesigningrequests",
        (v1(CERTIFICATES, certificates.CertificateSigningRequest, certificates.CertificateSigningRequestList),),
        namespaced=False,
        formerly=(f"{CERTIFICATES}/v1beta1",),
        short_names=("csr",),
        subresources=(STATUS, Subresource("approval")),
    ),
    Resource(
        "clustertrustbundles", (v1(CERTIFICATES, certificates.ClusterTrustBundle, certificates.ClusterTrustBundleList),), namespaced=False
    ),
    Resource(
        "podcertificaterequests",
        (v1(CERTIFICATES, certificates.PodCertificateRequest, certificates.PodCertificateRequestList),),
        subresources=(STATUS,),
    ),
    Resource(
        "validatingwebhookconfigurations",
        (v1(ADMISSION, admission.ValidatingWebhookConfiguration, admission.ValidatingWebhookConfigurationList),),
        namespaced=False,
        formerly=(f"{ADMISSION}/v1beta1",),
        categories=EXTENSIONS,
    ),
    Resource(
        "mutatingwebhookconfigurations",
        (v1(ADMISSION, admission.MutatingWebhookConfiguration, admission.MutatingWebhookConfigurationList),),
        namespaced=False,
        formerly=(f"{ADMISSION}/v1beta1",),
        categories=EXTENSIONS,
    ),
    Resource(
        "validatingadmissionpolicies",
        (v1(ADMISSION, admission.ValidatingAdmissionPolicy, admission.ValidatingAdmissionPolicyList),),
        namespaced=False,
        categories=EXTENSIONS,
        subresources=(STATUS,),
    ),
    Resource(
        "validatingadmissionpolicybindings",
        (v1(ADMISSION, admission.ValidatingAdmissionPolicyBinding, admission.ValidatingAdmissionPolicyBindingList),),
        namespaced=False,
        categories=EXTENSIONS,
    ),
    Resource(
        "mutatingadmissionpolicies",
        (v1(ADMISSION, admission.MutatingAdmissionPolicy, admission.MutatingAdmissionPolicyList),),
        namespaced=False,
        categories=EXTENSIONS,
    ),
    Resource(
        "mutatingadmissionpolicybindings",
        (v1(ADMISSION, admission.MutatingAdmissionPolicyBinding, admission.MutatingAdmissionPolicyBindingList),),
        namespaced=False,
        categories=EXTENSIONS,
    ),
    Resource(
        "flowschemas",
        (
            v1(FLOWCONTROL, flowcontrol.FlowSchema, flowcontrol.FlowSchemaList),
            _flowcontrol_v1beta1(old_flowcontrol.FlowSchema, old_flowcontrol.FlowSchemaList, FLOW_SCHEMA_V1BETA1),
        ),
        formerly=FORMER_FLOWCONTROL,
        namespaced=False,
        subresources=(STATUS,),
    ),
    Resource(
        "prioritylevelconfigurations",
        (
            v1(FLOWCONTROL, flowcontrol.PriorityLevelConfiguration, flowcontrol.PriorityLevelConfigurationList),
            _flowcontrol_v1beta1(old_flowcontrol.PriorityLevelConfiguration, old_flowcontrol.PriorityLevelConfigurationList, LEVEL_V1BETA1),
        ),
        formerly=FORMER_FLOWCONTROL,
        namespaced=False,
        subresources=(STATUS,),
    ),
)
