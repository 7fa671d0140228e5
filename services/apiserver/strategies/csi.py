"""The strategies of what volume drivers say: CSIDriver, CSINode, CSIStorageCapacity, VolumeAttachment."""

from __future__ import annotations

from datetime import datetime

from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    check_format,
    check_given_choice,
    check_immutable,
    check_not_negative,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    qualified_name,
    required,
    too_long,
    too_many,
)
from knarr.objects.copies import copy_of
from services.apiserver.strategies.amounts import check_amount
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.persistentvolume import validate_volume_spec
from services.apiserver.strategies.selectors import selector_shown, validate_label_selector
from services.apiserver.strategies.strategy import Column, Strategy
from services.apiserver.strategies.table import UNSET, age, columns
from services.apiserver.strategies.volumes import check_driver_name

LIFECYCLES = ("Ephemeral", "Persistent")
FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
MAX_NODE_ID = 256
MAX_ATTACHMENT_METADATA, MAX_ERROR_MESSAGE = 256 * 1024, 1024
SHORTEST_PERIOD_SECONDS = 10
# Each that is malformed is shown with all others.
MAX_TOPOLOGY_KEYS = 64


class CSIDriverStrategy(Strategy):
    """A spec change makes a new generation."""

    columns = columns(
        "Name",
        "AttachRequired",
        "PodInfoOnMount",
        "StorageCapacity",
        "TokenRequests",
        "RequiresRepublish",
        "Modes",
        "Age",
        booleans=("AttachRequired", "PodInfoOnMount", "StorageCapacity", "RequiresRepublish"),
    )
    has_generation = True
    returns_deleted = True
    allows_unconditional_update = False

    def default(self, obj: storage.CSIDriver) -> None:
        spec = obj.spec
        for field, value in (
            ("attach_required", True),
            ("pod_info_on_mount", False),
            ("storage_capacity", False),
            ("requires_republish", False),
            ("se_linux_mount", False),
        ):
            if not spec.HasField(field):
                setattr(spec, field, value)
        if not spec.HasField("fs_group_policy"):
            spec.fs_group_policy = "ReadWriteOnceWithFSType"
        if not spec.volume_lifecycle_modes:
            spec.volume_lifecycle_modes.append("Persistent")

    def validate(self, obj: storage.CSIDriver) -> list[Cause]:
        spec = obj.spec
        modes = SPEC.child("volumeLifecycleModes")
        causes = [not_supported(modes, mode, LIFECYCLES) for mode in spec.volume_lifecycle_modes if mode not in LIFECYCLES]
        causes += check_given_choice(SPEC.child("fsGroupPolicy"), spec, "fs_group_policy", FS_GROUP_POLICIES)
        seconds = spec.node_allocatable_update_period_seconds
        if spec.HasField("node_allocatable_update_period_seconds") and seconds < SHORTEST_PERIOD_SECONDS:
            here = SPEC.child("nodeAllocatableUpdatePeriodSeconds")
            causes.append(invalid(here, seconds, f"must be greater than or equal to {SHORTEST_PERIOD_SECONDS} seconds"))
        if spec.HasField("service_account_token_in_secrets") and not spec.token_requests:
            here = SPEC.child("serviceAccountTokenInSecrets")
            causes.append(invalid(here, spec.service_account_token_in_secrets, "must be unset if no tokenRequests are specified"))
        audiences: set[str] = set()
        for index, token in enumerate(spec.token_requests):
            here = SPEC.child("tokenRequests").index(index)
            if token.audience in audiences:
                causes.append(duplicate(here.child("audience"), token.audience))
            audiences.add(token.audience)
            if token.HasField("expiration_seconds"):
                causes += _expiration(token.expiration_seconds, here.child("expirationSeconds"))
        return causes

    def validate_update(self, new: storage.CSIDriver, old: storage.CSIDriver) -> list[Cause]:
        modes = list(new.spec.volume_lifecycle_modes), list(old.spec.volume_lifecycle_modes)
        return [
            # The path is Kubernetes' own.
            *check_immutable(SPEC.child("attachedRequired"), new.spec.attach_required, old.spec.attach_required),
            *check_immutable(SPEC.child("volumeLifecycleModes"), *modes),
        ]

    def cells(self, obj: storage.CSIDriver, now: datetime) -> list[object]:
        spec = obj.spec
        tokens = ",".join(token.audience or '""' for token in spec.token_requests) or UNSET
        modes = ",".join(spec.volume_lifecycle_modes) or UNSET
        flags = (spec.attach_required or not spec.HasField("attach_required"), spec.pod_info_on_mount, spec.storage_capacity)
        return [obj.metadata.name, *flags, tokens, spec.requires_republish, modes, age(obj, now)]


def _expiration(seconds: int, path: Path) -> list[Cause]:
    if seconds < 10 * 60:
        return [invalid(path, seconds, "may not specify a duration less than 10 minutes")]
    return [invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")] if seconds > 2**32 else []


class CSINodeStrategy(Strategy):
    columns = columns("Name", "Drivers", "Age", integers=("Drivers",))
    returns_deleted = True
    allows_unconditional_update = False

    def validate(self, obj: storage.CSINode) -> list[Cause]:
        causes: list[Cause] = []
        names: set[str] = set()
        for index, driver in enumerate(obj.spec.drivers):
            here = SPEC.child("drivers").index(index)
            causes += _driver(driver, here)
            if driver.name in names:
                causes.append(duplicate(here.child("name"), driver.name))
            names.add(driver.name)
        return causes

    def validate_update(self, new: storage.CSINode, old: storage.CSINode) -> list[Cause]:
        """Drivers come and go; one that is there stays as it is, but for how many volumes it can take."""
        known = {driver.name: _without_limits(driver) for driver in old.spec.drivers}
        changed = [driver for driver in new.spec.drivers if known.get(driver.name, _without_limits(driver)) != _without_limits(driver)]
        return [invalid(SPEC.child("drivers"), CUT, "field is immutable") for _ in changed]

    def cells(self, obj: storage.CSINode, now: datetime) -> list[object]:
        return [obj.metadata.name, len(obj.spec.drivers), age(obj, now)]


def _without_limits(driver: storage.CSINodeDriver) -> storage.CSINodeDriver:
    found = copy_of(driver)
    found.ClearField("allocatable")
    return found


def _driver(driver: storage.CSINodeDriver, path: Path) -> list[Cause]:
    causes = check_driver_name(driver.name, path.child("name"))
    here = path.child("nodeID")
    if not driver.node_id:
        causes.append(required(here))
    elif len(driver.node_id.encode()) > MAX_NODE_ID:
        causes.append(invalid(here, driver.node_id, f"must be {MAX_NODE_ID} characters or less"))
    causes += check_not_negative(path.child("allocatable", "count"), driver.allocatable.count)
    keys = list(driver.topology_keys)
    if len(keys) > MAX_TOPOLOGY_KEYS:
        return [*causes, too_many(path.child("topologyKeys"), len(keys), MAX_TOPOLOGY_KEYS)]
    seen: set[str] = set()
    for key in keys:
        if not key:
            causes.append(required(path))
        if key in seen:
            causes.append(duplicate(path, key))
        seen.add(key)
        causes += check_format(path, key, qualified_name)
    return causes


class CSIStorageCapacityStrategy(Strategy):
    columns = columns("Name", "StorageClassName", "Capacity", wide=("MaximumVolumeSize",))
    allows_unconditional_update = False

    def validate(self, obj: storage.CSIStorageCapacity) -> list[Cause]:
        causes = check_format(Path("storageClassName"), obj.storage_class_name, dns1123_subdomain)
        if obj.HasField("node_topology"):
            causes += validate_label_selector(obj.node_topology, Path("nodeTopology"))
        for field, name in (("capacity", "capacity"), ("maximum_volume_size", "maximumVolumeSize")):
            if obj.HasField(field):
                causes += check_amount(getattr(obj, field), Path(name))
        return causes

    def validate_update(self, new: storage.CSIStorageCapacity, old: storage.CSIStorageCapacity) -> list[Cause]:
        causes = check_immutable(Path("nodeTopology"), new.node_topology, old.node_topology, selector_shown(new.node_topology))
        return causes + check_immutable(Path("storageClassName"), new.storage_class_name, old.storage_class_name)

    def cells(self, obj: storage.CSIStorageCapacity, now: datetime) -> list[object]:
        sizes = [getattr(obj, field).string if obj.HasField(field) else UNSET for field in ("capacity", "maximum_volume_size")]
        return [obj.metadata.name, obj.storage_class_name, *sizes]


class VolumeAttachmentStrategy(Strategy):
    """A spec change makes a new generation; but a spec does not change."""

    columns = (
        Column("Name", format="name"),
        Column("Attacher", format="name"),
        *columns("PV", "Node", "Attached", "Age", booleans=("Attached",)),
    )
    returns_deleted = True
    allows_unconditional_update = False

    def validate(self, obj: storage.VolumeAttachment) -> list[Cause]:
        causes = [] if obj.spec.attacher else [required(SPEC.child("attacher"))]
        causes += _source(obj.spec.source, SPEC.child("source"))
        causes += check_format(SPEC.child("nodeName"), obj.spec.node_name, dns1123_subdomain)
        return causes + _attachment_status(obj.status)

    def validate_create(self, obj: storage.VolumeAttachment) -> list[Cause]:
        """What has a name that is none may stay so: versions before v1 did not look at names."""
        causes = check_driver_name(obj.spec.attacher, SPEC.child("attacher"))
        source = obj.spec.source
        if source.HasField("persistent_volume_name"):
            causes += check_format(SPEC.child("source", "persistentVolumeName"), source.persistent_volume_name, dns1123_subdomain)
        return causes

    def validate_update(self, new: storage.VolumeAttachment, old: storage.VolumeAttachment) -> list[Cause]:
        return check_immutable(SPEC, new.spec, old.spec, CUT)

    def validate_status_update(self, new: storage.VolumeAttachment, old: storage.VolumeAttachment) -> list[Cause]:
        return _attachment_status(new.status)

    def cells(self, obj: storage.VolumeAttachment, now: datetime) -> list[object]:
        spec = obj.spec
        return [
            obj.metadata.name,
            spec.attacher,
            spec.source.persistent_volume_name,
            spec.node_name,
            obj.status.attached,
            age(obj, now),
        ]


def _attachment_status(status: storage.VolumeAttachmentStatus) -> list[Cause]:
    metadata = status.attachment_metadata
    size = sum(len(key.encode()) + len(metadata[key].encode()) for key in metadata)
    causes = [too_long(STATUS.child("attachmentMetadata"), MAX_ATTACHMENT_METADATA)] if size > MAX_ATTACHMENT_METADATA else []
    for error, name in ((status.attach_error, "attachError"), (status.detach_error, "detachError")):
        here = STATUS.child(name)
        if len(error.message.encode()) > MAX_ERROR_MESSAGE:
            causes.append(too_long(here.child("message"), MAX_ERROR_MESSAGE))
        if error.error_code < 0:
            causes.append(invalid(here.child("errorCode"), error.error_code, f"must be between 0 and {2**31 - 1}, inclusive"))
    return causes


def _source(source: storage.VolumeAttachmentSource, path: Path) -> list[Cause]:
    """What is attached: a volume by its name, or one that is written out."""
    words = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    inline, named = source.HasField("inline_volume_spec"), source.HasField("persistent_volume_name")
    if not inline and not named:
        return [required(path, words)]
    if inline and named:
        return [forbidden(path, words)]
    if inline:
        return _inline(source, path.child("inlineVolumeSpec"))
    return (
        []
        if source.persistent_volume_name
        else [required(path.child("persistentVolumeName"), "must specify non empty persistentVolumeName")]
    )


def _inline(source: storage.VolumeAttachmentSource, path: Path) -> list[Cause]:
    """What a volume says of its size and its claim makes no sense here."""
    spec = source.inline_volume_spec
    context = "in the context of inline volumes"
    causes = [
        forbidden(path.child(name), f"may not be specified {context}")
        for name, given in (
            ("claimRef", spec.HasField("claim_ref")),
            ("capacity", bool(spec.capacity)),
            ("nodeAffinity", spec.HasField("node_affinity")),
        )
        if given
    ]
    if not spec.persistent_volume_source.HasField("csi"):
        causes.append(required(path.child("csi"), f"has to be specified {context}"))
    return causes + [cause for cause in validate_volume_spec(spec, path) if not str(cause.field).startswith(path.child("capacity"))]
