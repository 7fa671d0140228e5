"""Volumes, devices and the form of what is stored: storage.k8s.io, resource.k8s.io, storagemigration.k8s.io."""

from __future__ import annotations

from knarr.api.resource.v1 import resource_pb2 as devices
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.api.storagemigration.v1 import storagemigration_pb2 as storagemigration
from knarr.machinery.catalog.parts import STATUS, v1
from knarr.machinery.resources import Resource

STORAGE, DEVICES, MIGRATION = "storage.k8s.io", "resource.k8s.io", "storagemigration.k8s.io"

RESOURCES: tuple[Resource, ...] = (
    Resource("storageclasses", (v1(STORAGE, storage.StorageClass, storage.StorageClassList),), namespaced=False, short_names=("sc",)),
    Resource(
        "volumeattachments",
        (v1(STORAGE, storage.VolumeAttachment, storage.VolumeAttachmentList),),
        namespaced=False,
        subresources=(STATUS,),
    ),
    Resource(
        "csidrivers",
        (v1(STORAGE, storage.CSIDriver, storage.CSIDriverList),),
        namespaced=False,
        formerly=(f"{STORAGE}/v1beta1",),
    ),
    Resource("csinodes", (v1(STORAGE, storage.CSINode, storage.CSINodeList),), namespaced=False),
    Resource("csistoragecapacities", (v1(STORAGE, storage.CSIStorageCapacity, storage.CSIStorageCapacityList),)),
    Resource(
        "volumeattributesclasses",
        (v1(STORAGE, storage.VolumeAttributesClass, storage.VolumeAttributesClassList),),
        namespaced=False,
        short_names=("vac",),
    ),
    Resource("deviceclasses", (v1(DEVICES, devices.DeviceClass, devices.DeviceClassList),), namespaced=False),
    Resource(
        "devicetaintrules",
        (v1(DEVICES, devices.DeviceTaintRule, devices.DeviceTaintRuleList),),
        namespaced=False,
        subresources=(STATUS,),
    ),
    Resource("resourceclaims", (v1(DEVICES, devices.ResourceClaim, devices.ResourceClaimList),), subresources=(STATUS,)),
    Resource("resourceclaimtemplates", (v1(DEVICES, devices.ResourceClaimTemplate, devices.ResourceClaimTemplateList),)),
    Resource("resourceslices", (v1(DEVICES, devices.ResourceSlice, devices.ResourceSliceList),), namespaced=False),
    Resource(
        "storageversionmigrations",
        (v1(MIGRATION, storagemigration.StorageVersionMigration, storagemigration.StorageVersionMigrationList),),
        namespaced=False,
        subresources=(STATUS,),
    ),
)
