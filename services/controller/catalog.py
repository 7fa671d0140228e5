"""The controllers of the manager: the one list, in any order."""

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

CONTROLLERS: tuple[type[Controller], ...] = (
    DeploymentController,
    ReplicaSetController,
    ReplicationControllerController,
    DaemonSetController,
    StatefulSetController,
    JobController,
    JobReleaseController,
    CronJobController,
    TtlAfterFinishedController,
    EndpointSliceController,
    EndpointsController,
    EndpointSliceMirroringController,
    NodeIpamController,
    NodeLifecycleController,
    NodeTtlController,
    PodGarbageCollector,
    HorizontalPodAutoscalerController,
    DisruptionController,
    StaleDisruptionController,
    EphemeralVolumeController,
    ResourceClaimController,
    DeviceTaintEvictionController,
    ClaimProtectionController,
    VolumeProtectionController,
    PersistentVolumeBinder,
    LocalPathController,
    AttachDetachController,
    CsiProvisionerController,
    CsiAttacherController,
    CsiResizerController,
    CsiModifierController,
    CsiCapacityController,
    NamespaceController,
    ServiceAccountController,
    ServiceAccountTokenController,
    LegacyTokenCleanerController,
    RootCertificateController,
    CertificateApprovingController,
    CertificateSigningController,
    CertificateCleanerController,
    PodCertificateCleanerController,
    TrustBundlePublisher,
    ResourceQuotaController,
    ClusterRoleAggregationController,
    GarbageCollector,
)
