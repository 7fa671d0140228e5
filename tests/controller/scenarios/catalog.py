"""What happens to each controller when it is tried with mishaps: one small scenario for each of the catalog."""

from __future__ import annotations

from services.controller.controller import Controller
from services.controller.controllers.attachdetach.controller import AttachDetachController
from services.controller.controllers.clusterroleaggregation.controller import ClusterRoleAggregationController
from services.controller.controllers.cronjob.controller import CronJobController
from services.controller.controllers.csiattacher.controller import CsiAttacherController
from services.controller.controllers.csicapacity.controller import CsiCapacityController
from services.controller.controllers.csimodifier.controller import CsiModifierController
from services.controller.controllers.csiprovisioner.controller import CsiProvisionerController
from services.controller.controllers.csiresizer.controller import CsiResizerController
from services.controller.controllers.csrapproving.controller import CertificateApprovingController
from services.controller.controllers.csrcleaner.controller import CertificateCleanerController
from services.controller.controllers.csrsigning.controller import CertificateSigningController
from services.controller.controllers.daemonset.controller import DaemonSetController
from services.controller.controllers.deployment.controller import DeploymentController
from services.controller.controllers.devicetainteviction.controller import DeviceTaintEvictionController
from services.controller.controllers.disruption.controller import DisruptionController
from services.controller.controllers.endpoints.controller import EndpointsController
from services.controller.controllers.endpointslice.controller import EndpointSliceController
from services.controller.controllers.endpointslicemirroring.controller import EndpointSliceMirroringController
from services.controller.controllers.ephemeralvolume.controller import EphemeralVolumeController
from services.controller.controllers.garbagecollector.controller import GarbageCollector
from services.controller.controllers.horizontalpodautoscaler.controller import HorizontalPodAutoscalerController
from services.controller.controllers.job.controller import JobController
from services.controller.controllers.jobrelease.controller import JobReleaseController
from services.controller.controllers.legacytokencleaner.controller import LegacyTokenCleanerController
from services.controller.controllers.localpath.controller import LocalPathController
from services.controller.controllers.namespace.controller import NamespaceController
from services.controller.controllers.nodeipam.controller import NodeIpamController
from services.controller.controllers.nodelifecycle.controller import NodeLifecycleController
from services.controller.controllers.nodettl.controller import NodeTtlController
from services.controller.controllers.persistentvolumebinder.controller import PersistentVolumeBinder
from services.controller.controllers.podcertificatecleaner.controller import PodCertificateCleanerController
from services.controller.controllers.podgc.controller import PodGarbageCollector
from services.controller.controllers.pvcprotection.controller import ClaimProtectionController
from services.controller.controllers.pvprotection.controller import VolumeProtectionController
from services.controller.controllers.replicaset.controller import ReplicaSetController
from services.controller.controllers.replicationcontroller.controller import ReplicationControllerController
from services.controller.controllers.resourceclaim.controller import ResourceClaimController
from services.controller.controllers.resourcequota.controller import ResourceQuotaController
from services.controller.controllers.rootcertificate.controller import RootCertificateController
from services.controller.controllers.serviceaccount.controller import ServiceAccountController
from services.controller.controllers.serviceaccounttoken.controller import ServiceAccountTokenController
from services.controller.controllers.staledisruption.controller import StaleDisruptionController
from services.controller.controllers.statefulset.controller import StatefulSetController
from services.controller.controllers.trustbundlepublisher.controller import TrustBundlePublisher
from services.controller.controllers.ttlafterfinished.controller import TtlAfterFinishedController
from tests.controller.disks import FakeAttacher
from tests.controller.drivers import Rack
from tests.controller.objects import (
    replica_set,
    replication_controller,
)
from tests.controller.scenarios.access import accounts, gathering_roles, old_tokens, token_secrets
from tests.controller.scenarios.certificates import approvals, certificates, old_requests, pod_certificates, signatures, trust_bundles
from tests.controller.scenarios.devices import broken_devices, device_claims, devices_are_free, pods_of_broken_devices_go
from tests.controller.scenarios.disks import attached_disks, disks, growing_disks, other_attributes, room, with_driver
from tests.controller.scenarios.jobs import by_the_clock, job_ending, jobs, jobs_that_expire, uncounted_pods
from tests.controller.scenarios.namespaces import collected, namespaces, quotas
from tests.controller.scenarios.nodes import garbage_pods, node_ranges, ranges_are_apart, silent_nodes
from tests.controller.scenarios.services import mirrored, services, trigger_time
from tests.controller.scenarios.steps import alone
from tests.controller.scenarios.storage import (
    attachments,
    bindings,
    claims,
    ephemeral_volumes,
    every_volume_has_one_claim,
    folders,
    volumes,
)
from tests.controller.scenarios.workloads import autoscaled, budgets, daemon_sets, deployments, replicated, stale_disruptions, stateful_sets
from tests.support.mishaps import Scenario
from tests.support.signing import authority, signing

SCENARIOS: dict[type[Controller], Scenario] = {
    DeploymentController: alone(
        DeploymentController,
        deployments,
        ReplicaSetController,
        kubelet=True,
        # A rollout that nobody has seen begin is no news, as in Kubernetes: the message names the ReplicaSet of the one before.
        free=frozenset({"Deployment.status.conditions.message"}),
    ),
    HorizontalPodAutoscalerController: alone(
        HorizontalPodAutoscalerController,
        autoscaled,
        DeploymentController,
        ReplicaSetController,
        kubelet=True,
        settings={"autoscaler_downscale_stabilization_seconds": 0.0},
    ),
    DaemonSetController: alone(DaemonSetController, daemon_sets, kubelet=True),
    ReplicaSetController: alone(ReplicaSetController, lambda w: replicated(w, replica_set("web", 3)), kubelet=True),
    ReplicationControllerController: alone(
        ReplicationControllerController, lambda w: replicated(w, replication_controller("web", 3)), kubelet=True
    ),
    StatefulSetController: alone(StatefulSetController, stateful_sets, kubelet=True),
    JobController: alone(JobController, jobs, JobReleaseController, kubelet=True, ending=job_ending),
    JobReleaseController: alone(JobReleaseController, uncounted_pods),
    CronJobController: alone(CronJobController, by_the_clock),
    TtlAfterFinishedController: alone(TtlAfterFinishedController, jobs_that_expire),
    EndpointSliceController: alone(EndpointSliceController, services, free=trigger_time("EndpointSlice")),
    EndpointsController: alone(EndpointsController, services, free=trigger_time("Endpoints")),
    EndpointSliceMirroringController: alone(EndpointSliceMirroringController, mirrored),
    NodeIpamController: alone(
        NodeIpamController, node_ranges, check=ranges_are_apart, free=frozenset({"Node.spec.podCIDR", "Node.spec.podCIDRs"})
    ),
    NodeLifecycleController: alone(NodeLifecycleController, silent_nodes, rest_seconds=5.0),
    DisruptionController: alone(DisruptionController, budgets, ReplicaSetController, kubelet=True),
    StaleDisruptionController: alone(StaleDisruptionController, stale_disruptions),
    EphemeralVolumeController: alone(EphemeralVolumeController, ephemeral_volumes),
    DeviceTaintEvictionController: alone(DeviceTaintEvictionController, broken_devices, check=pods_of_broken_devices_go),
    ResourceClaimController: alone(ResourceClaimController, device_claims, check=devices_are_free),
    ClaimProtectionController: alone(ClaimProtectionController, claims),
    VolumeProtectionController: alone(VolumeProtectionController, volumes),
    PersistentVolumeBinder: alone(
        PersistentVolumeBinder,
        bindings,
        ClaimProtectionController,
        VolumeProtectionController,
        check=every_volume_has_one_claim,
    ),
    LocalPathController: alone(LocalPathController, folders, PersistentVolumeBinder, ClaimProtectionController, VolumeProtectionController),
    AttachDetachController: alone(AttachDetachController, attachments, outsiders=lambda w: [FakeAttacher(w.api.client()).run]),
    CsiProvisionerController: with_driver(
        CsiProvisionerController, disks, PersistentVolumeBinder, ClaimProtectionController, VolumeProtectionController
    ),
    CsiAttacherController: with_driver(CsiAttacherController, attached_disks),
    CsiResizerController: with_driver(CsiResizerController, growing_disks),
    CsiModifierController: with_driver(CsiModifierController, other_attributes),
    CsiCapacityController: with_driver(CsiCapacityController, room, outside=lambda: Rack(topology=True)),
    NodeTtlController: alone(NodeTtlController, node_ranges),
    PodGarbageCollector: alone(PodGarbageCollector, garbage_pods, settings={"terminated_pod_threshold": 2}),
    NamespaceController: alone(NamespaceController, namespaces),
    ClusterRoleAggregationController: alone(ClusterRoleAggregationController, gathering_roles),
    CertificateApprovingController: alone(CertificateApprovingController, approvals),
    CertificateSigningController: alone(
        CertificateSigningController,
        signatures,
        settings={"signing": signing()},
        # No two certificates are the same.
        free=frozenset({"CertificateSigningRequest.status.certificate"}),
    ),
    CertificateCleanerController: alone(CertificateCleanerController, old_requests),
    PodCertificateCleanerController: alone(PodCertificateCleanerController, pod_certificates),
    TrustBundlePublisher: alone(TrustBundlePublisher, trust_bundles, settings={"root_certificate": authority("knarr")}),
    ServiceAccountController: alone(ServiceAccountController, accounts),
    ServiceAccountTokenController: alone(
        ServiceAccountTokenController,
        token_secrets,
        settings={"root_certificate": "certificate"},
        tokens=True,
        # No two tokens are the same.
        free=frozenset({"Secret.data.token"}),
    ),
    LegacyTokenCleanerController: alone(LegacyTokenCleanerController, old_tokens),
    ResourceQuotaController: alone(ResourceQuotaController, quotas, settings={"quota_resync_seconds": 10.0}),
    RootCertificateController: alone(RootCertificateController, certificates, settings={"root_certificate": "certificate"}),
    GarbageCollector: alone(GarbageCollector, collected),
}
