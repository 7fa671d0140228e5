"""The strategy of CustomResourceDefinitions. ``services.apiserver.definitions`` gives them their names, and serves what they define."""

from __future__ import annotations

from datetime import UTC, datetime

from knarr.machinery.custom.definitions import Definition
from knarr.machinery.errors import Cause
from knarr.objects.conditions import set_condition
from services.apiserver.strategies.strategy import Strategy

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
WEBHOOK_PORT = 443


class CustomResourceDefinitionStrategy(Strategy):
    """Every change of the spec makes a new generation."""

    has_generation = True
    allows_unconditional_update = False
    full_finalizers = False
    work_factor = 16

    def default(self, obj: Definition) -> None:
        spec = obj.spec
        if not spec.names.singular:
            spec.names.singular = spec.names.kind.lower()
        if not spec.names.list_kind and spec.names.kind:
            spec.names.list_kind = f"{spec.names.kind}List"
        if not spec.HasField("conversion"):
            spec.conversion.strategy = "None"
        config = spec.conversion.webhook.client_config
        if config.HasField("service") and not config.service.HasField("port"):
            config.service.port = WEBHOOK_PORT

    def prepare_for_create(self, obj: Definition) -> None:
        super().prepare_for_create(obj)
        _note_stored_version(obj)
        # Without any condition a definition would say ``null`` of them until its names are looked at, and `kubectl wait` fail at that. By
        # any other reason than this one Helm takes it for failed.
        made = datetime.fromtimestamp(obj.metadata.creation_timestamp.seconds, UTC)
        set_condition(obj.status, "Established", False, reason="Installing", message="the names are being looked at", now=made)

    def prepare_for_update(self, new: Definition, old: Definition) -> None:
        super().prepare_for_update(new, old)
        _note_stored_version(new)

    def validate(self, obj: Definition) -> list[Cause]:
        # What judges schemas is loaded when there is one to judge.
        from services.apiserver.strategies.customresourcedefinition.validation import check_definition, check_stored_versions

        return [*check_definition(obj), *check_stored_versions(obj)]

    def validate_create(self, obj: Definition) -> list[Cause]:
        from services.apiserver.strategies.customresourcedefinition.validation import check_approval

        return check_approval(obj)

    def validate_update(self, new: Definition, old: Definition) -> list[Cause]:
        from services.apiserver.strategies.customresourcedefinition.validation import check_change

        return check_change(new, old)

    def validate_status_update(self, new: Definition, old: Definition) -> list[Cause]:
        from services.apiserver.strategies.customresourcedefinition.validation import check_names
        from services.apiserver.strategies.paths import STATUS

        return check_names(new.status.accepted_names, STATUS.child("acceptedNames"))

    def mark_deleted(self, obj: Definition, grace_seconds: int) -> None:
        """The objects go first."""
        super().mark_deleted(obj, grace_seconds)
        if FINALIZER not in obj.metadata.finalizers:
            obj.metadata.finalizers.append(FINALIZER)
        message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        now = datetime.fromtimestamp(obj.metadata.deletion_timestamp.seconds, UTC)
        set_condition(obj.status, "Terminating", True, reason="InstanceDeletionPending", message=message, now=now)


def _note_stored_version(obj: Definition) -> None:
    for version in obj.spec.versions:
        if version.storage and version.name not in obj.status.stored_versions:
            obj.status.stored_versions.append(version.name)
