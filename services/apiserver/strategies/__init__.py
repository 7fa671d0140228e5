"""The rules of the kinds. ``Strategies`` finds them; a kind without an entry follows ``Strategy``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from google.protobuf.message import Message

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.certificates.v1 import certificates_pb2 as requests
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.events.v1 import events_pb2 as events
from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flows
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.api.node.v1 import node_pb2 as nodes
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.rbac.v1 import rbac_pb2 as roles
from knarr.api.resource.v1 import resource_pb2 as claims
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.resources import Version
from services.apiserver.strategies.admissionpolicy import (
    AdmissionPolicyBindingStrategy,
    MutatingAdmissionPolicyStrategy,
    ValidatingAdmissionPolicyStrategy,
)
from services.apiserver.strategies.certificates import CertificateSigningRequestStrategy, ClusterTrustBundleStrategy
from services.apiserver.strategies.componentstatus import ComponentStatusStrategy
from services.apiserver.strategies.configmap import ConfigMapStrategy
from services.apiserver.strategies.controllerrevision import ControllerRevisionStrategy
from services.apiserver.strategies.cronjob import CronJobStrategy
from services.apiserver.strategies.csi import CSIDriverStrategy, CSINodeStrategy, CSIStorageCapacityStrategy, VolumeAttachmentStrategy
from services.apiserver.strategies.customresourcedefinition.strategy import CustomResourceDefinitionStrategy
from services.apiserver.strategies.daemonset import DaemonSetStrategy
from services.apiserver.strategies.deployment import DeploymentStrategy
from services.apiserver.strategies.devices import (
    DeviceClassStrategy,
    DeviceTaintRuleStrategy,
    ResourceClaimStrategy,
    ResourceClaimTemplateStrategy,
    ResourceSliceStrategy,
)
from services.apiserver.strategies.endpoints import EndpointsStrategy
from services.apiserver.strategies.endpointslice import EndpointSliceStrategy
from services.apiserver.strategies.event import EventStrategy, NewEventStrategy
from services.apiserver.strategies.flowcontrol import FlowSchemaStrategy, PriorityLevelConfigurationStrategy
from services.apiserver.strategies.horizontalpodautoscaler import HorizontalPodAutoscalerStrategy
from services.apiserver.strategies.ingress import IngressClassStrategy, IngressStrategy
from services.apiserver.strategies.job import JobStrategy
from services.apiserver.strategies.lease import LeaseStrategy
from services.apiserver.strategies.namespace import NamespaceStrategy
from services.apiserver.strategies.networkpolicy import NetworkPolicyStrategy
from services.apiserver.strategies.node import NodeStrategy
from services.apiserver.strategies.persistentvolume import PersistentVolumeStrategy
from services.apiserver.strategies.persistentvolumeclaim import PersistentVolumeClaimStrategy
from services.apiserver.strategies.pod.strategy import PodStrategy
from services.apiserver.strategies.poddisruptionbudget import PodDisruptionBudgetStrategy
from services.apiserver.strategies.priorityclass import PriorityClassStrategy
from services.apiserver.strategies.quota import LimitRangeStrategy, ResourceQuotaStrategy
from services.apiserver.strategies.rbac import ClusterRoleBindingStrategy, ClusterRoleStrategy, RoleBindingStrategy, RoleStrategy
from services.apiserver.strategies.replicaset import ReplicaSetStrategy
from services.apiserver.strategies.replicationcontroller import PodTemplateStrategy, ReplicationControllerStrategy
from services.apiserver.strategies.runtimeclass import RuntimeClassStrategy
from services.apiserver.strategies.secret import SecretStrategy
from services.apiserver.strategies.service.strategy import ServiceStrategy
from services.apiserver.strategies.serviceaccount import ServiceAccountStrategy
from services.apiserver.strategies.serviceaddress import IPAddressStrategy, ServiceCIDRStrategy
from services.apiserver.strategies.statefulset import StatefulSetStrategy
from services.apiserver.strategies.storageclass import StorageClassStrategy, VolumeAttributesClassStrategy
from services.apiserver.strategies.strategy import Column, Strategy
from services.apiserver.strategies.webhookconfiguration import WebhookConfigurationStrategy

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
    apps.StatefulSet: StatefulSetStrategy(),
    apps.DaemonSet: DaemonSetStrategy(),
    batch.Job: JobStrategy(),
    batch.CronJob: CronJobStrategy(),
    core.ReplicationController: ReplicationControllerStrategy(),
    core.PodTemplate: PodTemplateStrategy(),
    core.PersistentVolumeClaim: PersistentVolumeClaimStrategy(),
    apps.ControllerRevision: ControllerRevisionStrategy(),
    coordination.Lease: LeaseStrategy(),
    discovery.EndpointSlice: EndpointSliceStrategy(),
    networking.NetworkPolicy: NetworkPolicyStrategy(),
    apiextensions.CustomResourceDefinition: CustomResourceDefinitionStrategy(),
    core.ComponentStatus: ComponentStatusStrategy(),
    core.PersistentVolume: PersistentVolumeStrategy(),
    core.ResourceQuota: ResourceQuotaStrategy(),
    core.LimitRange: LimitRangeStrategy(),
    policy.PodDisruptionBudget: PodDisruptionBudgetStrategy(),
    scheduling.PriorityClass: PriorityClassStrategy(),
    nodes.RuntimeClass: RuntimeClassStrategy(),
    networking.Ingress: IngressStrategy(),
    networking.IngressClass: IngressClassStrategy(),
    roles.Role: RoleStrategy(),
    roles.ClusterRole: ClusterRoleStrategy(),
    roles.RoleBinding: RoleBindingStrategy(),
    roles.ClusterRoleBinding: ClusterRoleBindingStrategy(),
    storage.StorageClass: StorageClassStrategy(),
    storage.VolumeAttributesClass: VolumeAttributesClassStrategy(),
    storage.VolumeAttachment: VolumeAttachmentStrategy(),
    storage.CSIDriver: CSIDriverStrategy(),
    storage.CSINode: CSINodeStrategy(),
    storage.CSIStorageCapacity: CSIStorageCapacityStrategy(),
    networking.IPAddress: IPAddressStrategy(),
    networking.ServiceCIDR: ServiceCIDRStrategy(),
    requests.CertificateSigningRequest: CertificateSigningRequestStrategy(),
    requests.ClusterTrustBundle: ClusterTrustBundleStrategy(),
    admission.ValidatingWebhookConfiguration: WebhookConfigurationStrategy(),
    admission.MutatingWebhookConfiguration: WebhookConfigurationStrategy(),
    admission.ValidatingAdmissionPolicy: ValidatingAdmissionPolicyStrategy(),
    admission.MutatingAdmissionPolicy: MutatingAdmissionPolicyStrategy(),
    admission.ValidatingAdmissionPolicyBinding: AdmissionPolicyBindingStrategy(),
    admission.MutatingAdmissionPolicyBinding: AdmissionPolicyBindingStrategy(),
    flows.FlowSchema: FlowSchemaStrategy(),
    flows.PriorityLevelConfiguration: PriorityLevelConfigurationStrategy(),
    claims.DeviceClass: DeviceClassStrategy(),
    claims.DeviceTaintRule: DeviceTaintRuleStrategy(),
    claims.ResourceClaim: ResourceClaimStrategy(),
    claims.ResourceClaimTemplate: ResourceClaimTemplateStrategy(),
    claims.ResourceSlice: ResourceSliceStrategy(),
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
        return self._entries.get(version.message) or self._entries.get(version.resource.storage.message, _PLAIN)


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

__all__ = ["STRATEGIES", "Column", "Strategies", "Strategy", "strategy_for"]
