"""The rules of the kinds. ``Strategies`` finds them; a kind without an entry follows ``Strategy``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from google.protobuf.message import Message

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.certificates.v1 import certificates_pb2 as requests
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.events.v1 import events_pb2 as events
from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flows
from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.api.node.v1 import node_pb2 as nodes
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.rbac.v1 import rbac_pb2 as roles
from knarr.api.resource.v1 import resource_pb2 as claims
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.resources import Version
from services.apiserver.strategies.configmap import ConfigMapStrategy
from services.apiserver.strategies.controllerrevision import ControllerRevisionStrategy
from services.apiserver.strategies.customresourcedefinition.strategy import CustomResourceDefinitionStrategy
from services.apiserver.strategies.deployment import DeploymentStrategy
from services.apiserver.strategies.endpoints import EndpointsStrategy
from services.apiserver.strategies.endpointslice import EndpointSliceStrategy
from services.apiserver.strategies.event import EventStrategy, NewEventStrategy
from services.apiserver.strategies.horizontalpodautoscaler import HorizontalPodAutoscalerStrategy
from services.apiserver.strategies.lease import LeaseStrategy
from services.apiserver.strategies.namespace import NamespaceStrategy
from services.apiserver.strategies.networkpolicy import NetworkPolicyStrategy
from services.apiserver.strategies.node import NodeStrategy
from services.apiserver.strategies.pod.strategy import PodStrategy
from services.apiserver.strategies.priorityclass import PriorityClassStrategy
from services.apiserver.strategies.replicaset import ReplicaSetStrategy
from services.apiserver.strategies.secret import SecretStrategy
from services.apiserver.strategies.service.strategy import ServiceStrategy
from services.apiserver.strategies.serviceaccount import ServiceAccountStrategy
from services.apiserver.strategies.strategy import Column, Strategy

if TYPE_CHECKING:
    from knarr.machinery.custom.form import CustomForm

STRATEGIES: dict[type[Message], Strategy] = {
    core.Namespace: NamespaceStrategy(),
    core.Node: NodeStrategy(),
    core.Pod: PodStrategy(),
    core.Service: ServiceStrategy(),
    core.Endpoints: EndpointsStrategy(),
    core.ConfigMap: ConfigMapStrategy(),
    core.Secret: SecretStrategy(),
    core.ServiceAccount: ServiceAccountStrategy(),
    core.Event: EventStrategy(),
    events.Event: NewEventStrategy(),
    autoscaling.HorizontalPodAutoscaler: HorizontalPodAutoscalerStrategy(),
    apps.Deployment: DeploymentStrategy(),
    apps.ReplicaSet: ReplicaSetStrategy(),
    apps.ControllerRevision: ControllerRevisionStrategy(),
    coordination.Lease: LeaseStrategy(),
    discovery.EndpointSlice: EndpointSliceStrategy(),
    networking.NetworkPolicy: NetworkPolicyStrategy(),
    apiextensions.CustomResourceDefinition: CustomResourceDefinitionStrategy(),
    scheduling.PriorityClass: PriorityClassStrategy(),
}


@dataclass(frozen=True, slots=True)
class Late:
    """A strategy that is loaded when somebody first asks for it: most clusters start without an object of the kind."""

    module: str
    name: str

    def load(self) -> Strategy:
        found: type[Strategy] = getattr(import_module(f"{__name__}.{self.module}"), self.name)
        return found()


LATE: dict[type[Message], Late] = {
    apps.StatefulSet: Late("statefulset", "StatefulSetStrategy"),
    apps.DaemonSet: Late("daemonset", "DaemonSetStrategy"),
    batch.Job: Late("job", "JobStrategy"),
    batch.CronJob: Late("cronjob", "CronJobStrategy"),
    core.ReplicationController: Late("replicationcontroller", "ReplicationControllerStrategy"),
    core.PodTemplate: Late("podtemplate", "PodTemplateStrategy"),
    core.PersistentVolumeClaim: Late("persistentvolumeclaim", "PersistentVolumeClaimStrategy"),
    core.ComponentStatus: Late("componentstatus", "ComponentStatusStrategy"),
    core.PersistentVolume: Late("persistentvolume", "PersistentVolumeStrategy"),
    core.ResourceQuota: Late("quota", "ResourceQuotaStrategy"),
    core.LimitRange: Late("quota", "LimitRangeStrategy"),
    policy.PodDisruptionBudget: Late("poddisruptionbudget", "PodDisruptionBudgetStrategy"),
    nodes.RuntimeClass: Late("runtimeclass", "RuntimeClassStrategy"),
    networking.Ingress: Late("ingress", "IngressStrategy"),
    networking.IngressClass: Late("ingress", "IngressClassStrategy"),
    roles.Role: Late("rbac", "RoleStrategy"),
    roles.ClusterRole: Late("rbac", "ClusterRoleStrategy"),
    roles.RoleBinding: Late("rbac", "RoleBindingStrategy"),
    roles.ClusterRoleBinding: Late("rbac", "ClusterRoleBindingStrategy"),
    storage.StorageClass: Late("storageclass", "StorageClassStrategy"),
    storage.VolumeAttributesClass: Late("storageclass", "VolumeAttributesClassStrategy"),
    storage.VolumeAttachment: Late("csi", "VolumeAttachmentStrategy"),
    storage.CSIDriver: Late("csi", "CSIDriverStrategy"),
    storage.CSINode: Late("csi", "CSINodeStrategy"),
    storage.CSIStorageCapacity: Late("csi", "CSIStorageCapacityStrategy"),
    networking.IPAddress: Late("serviceaddress", "IPAddressStrategy"),
    networking.ServiceCIDR: Late("serviceaddress", "ServiceCIDRStrategy"),
    requests.CertificateSigningRequest: Late("certificates", "CertificateSigningRequestStrategy"),
    requests.ClusterTrustBundle: Late("certificates", "ClusterTrustBundleStrategy"),
    requests.PodCertificateRequest: Late("podcertificaterequest", "PodCertificateRequestStrategy"),
    admission.ValidatingWebhookConfiguration: Late("webhookconfiguration", "WebhookConfigurationStrategy"),
    admission.MutatingWebhookConfiguration: Late("webhookconfiguration", "WebhookConfigurationStrategy"),
    admission.ValidatingAdmissionPolicy: Late("admissionpolicy", "ValidatingAdmissionPolicyStrategy"),
    admission.MutatingAdmissionPolicy: Late("admissionpolicy", "MutatingAdmissionPolicyStrategy"),
    admission.ValidatingAdmissionPolicyBinding: Late("admissionpolicy", "AdmissionPolicyBindingStrategy"),
    admission.MutatingAdmissionPolicyBinding: Late("admissionpolicy", "AdmissionPolicyBindingStrategy"),
    flows.FlowSchema: Late("flowcontrol", "FlowSchemaStrategy"),
    flows.PriorityLevelConfiguration: Late("flowcontrol", "PriorityLevelConfigurationStrategy"),
    claims.DeviceClass: Late("devices", "DeviceClassStrategy"),
    claims.DeviceTaintRule: Late("devices", "DeviceTaintRuleStrategy"),
    claims.ResourceClaim: Late("devices", "ResourceClaimStrategy"),
    claims.ResourceClaimTemplate: Late("devices", "ResourceClaimTemplateStrategy"),
    apiregistration.APIService: Late("apiservice", "APIServiceStrategy"),
    metrics.NodeMetrics: Late("metrics", "NodeMetricsStrategy"),
    metrics.PodMetrics: Late("metrics", "PodMetricsStrategy"),
    claims.ResourceSlice: Late("devices", "ResourceSliceStrategy"),
}

_PLAIN = Strategy()


class Strategies:
    """The rules that one API server follows: ``entries``, and Kubernetes' defaults for the other kinds."""

    def __init__(self, entries: Mapping[type[Message], Strategy] | None = None) -> None:
        self._entries = {**STRATEGIES, **(entries or {})}

    def __call__(self, version: Version) -> Strategy:
        """The strategy of a version: its own where it has one, else that of the version that is stored."""
        if not version.form.has_message:
            return custom_strategy(version)
        return self._entries.get(version.message) or self._entries.get(version.resource.storage.message) or self._late(version)

    def _late(self, version: Version) -> Strategy:
        message = version.resource.storage.message
        late = LATE.get(message)
        if late is None:
            return _PLAIN
        return self._entries.setdefault(message, late.load())


# Those of custom resources are made when they are first asked for, and go with their versions.
_custom: WeakKeyDictionary[CustomForm, Strategy] = WeakKeyDictionary()


def is_made(version: Version) -> bool:
    """Whether the strategy of a custom resource is there: to make one may take longer than the loop is to be held."""
    return version.form in _custom


def custom_strategy(version: Version) -> Strategy:
    """That of a version whose objects have no message."""
    form: CustomForm = version.form  # type: ignore[assignment]
    found = _custom.get(form)
    if found is None:
        # What it stands on is only loaded by those who have custom resources.
        from services.apiserver.strategies.customresource.strategy import CustomStrategy

        found = _custom[form] = CustomStrategy(form)
    return found


strategy_for = Strategies()

__all__ = ["LATE", "STRATEGIES", "Column", "Strategies", "Strategy", "strategy_for"]
