"""What of a stored object a request reads and writes: the whole, or one of the sub-resources that are a part of it.

Each says how its body is read from the object, and how a changed body becomes a changed object that is prepared and validated.
All of it is pure. What is posted to a sub-resource (bindings, evictions) is in ``posted``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause, Forgiven, bad_request, conflict, invalid
from knarr.machinery.validation import but_kept
from knarr.objects.pods import ephemeral_containers
from services.apiserver.entry import Entry
from services.apiserver.fields.judge import Judgement, judge
from services.apiserver.pipeline import metadata
from services.apiserver.results import Ref
from services.apiserver.strategies.metadata import validate_object_meta_update
from services.apiserver.strategies.namespace import validate_finalizers
from services.apiserver.strategies.pod.ephemeral import take_ephemeral_containers, validate_ephemeral_containers
from services.apiserver.strategies.pod.resize import take_containers, validate_resize
from services.apiserver.strategies.scale import apply_scale, to_scale
from services.apiserver.strategies.strategy import Strategy


class Verdict(NamedTuple):
    """Why a changed object is refused, and what its writer should hear if it is not."""

    causes: Sequence[Cause]
    warnings: Sequence[str] = ()

    @classmethod
    def of(cls, causes: Sequence[Cause], warnings: Sequence[str] = ()) -> Verdict:
        """What is forgiven is among the warnings."""
        forgiven = [f"{cause.field}: {cause.message}" for cause in causes if isinstance(cause, Forgiven)]
        if not forgiven:
            return cls(causes, warnings)
        return cls([cause for cause in causes if not isinstance(cause, Forgiven)], [*warnings, *forgiven])


class Whole:
    """The object itself."""

    # Whether the body is another message than the object's.
    projects: ClassVar[bool] = False
    # Whether the object comes of a body as it is; else it is the stored one with what the body says in it.
    replaces: ClassVar[bool] = True

    def body(self, obj: Any) -> Any:
        """What is shown of ``obj``, patched and given to admission."""
        return obj

    def prepare(self, ref: Ref, strategy: Strategy, body: Any, old: Any) -> None:
        """Makes a proposed body complete before admission sees it; ``old`` is the stored object."""
        metadata.prepare_for_update(body, old)
        self.default(strategy, body)

    def default(self, strategy: Strategy, body: Any) -> None:
        """Fills in defaults, also those of what admission has added."""
        strategy.default(body)

    def merge(self, ref: Ref, body: Any, entry: Entry) -> Any:
        """The object that a body asks for, given the stored one."""
        return body

    def validate(self, ref: Ref, strategy: Strategy, new: Any, old: Any) -> Verdict:
        """Sets what a client may not choose, and judges what comes of it."""
        strategy.prepare_for_update(new, old)
        judged = judge(ref, new, old)
        found = but_kept(strategy.validate(new), lambda: strategy.validate(old))
        causes = [*_metadata_causes(strategy, new, old), *found, *strategy.validate_update(new, old)]
        return Verdict.of([*causes, *judged.causes], [*strategy.warnings(new), *judged.warnings])


class Status(Whole):
    """The status alone; what else a body brings is dropped."""

    def default(self, strategy: Strategy, body: Any) -> None:
        pass

    def validate(self, ref: Ref, strategy: Strategy, new: Any, old: Any) -> Verdict:
        strategy.prepare_for_status_update(new, old)
        found = but_kept(strategy.validate_status_update(new, old), lambda: strategy.validate_status_update(old, old))
        return Verdict.of([*_metadata_causes(strategy, new, old), *found])


class Approval(Status):
    """The conditions in the status of a CertificateSigningRequest; what else a body brings is dropped."""

    def validate(self, ref: Ref, strategy: Strategy, new: Any, old: Any) -> Verdict:
        strategy.prepare_for_approval(new, old)
        return Verdict([*_metadata_causes(strategy, new, old), *strategy.validate_approval_update(new, old)])


class Scale(Whole):
    """The count of replicas, as a Scale; the object is validated as a whole."""

    projects = True
    replaces = False

    def body(self, obj: Any) -> Any:
        return to_scale(obj)

    def prepare(self, ref: Ref, strategy: Strategy, body: Any, old: Any) -> None:
        if body.metadata.uid and body.metadata.uid != old.metadata.uid:
            detail = f"Precondition failed: UID in precondition: {body.metadata.uid}, UID in object meta: {old.metadata.uid}"
            raise conflict(f"{ref.resource.plural}/scale", ref.name, ref.version.group, detail)

    def default(self, strategy: Strategy, body: Any) -> None:
        pass

    def merge(self, ref: Ref, body: Any, entry: Entry) -> Any:
        if body.spec.replicas < 0:
            message = f"Invalid value: {body.spec.replicas}: must be greater than or equal to 0"
            raise invalid("Scale", ref.name, [Cause("FieldValueInvalid", message, "spec.replicas")], "autoscaling")
        new: Any = entry.message
        new.metadata.resource_version = ""
        apply_scale(new, body)
        return new

    def validate(self, ref: Ref, strategy: Strategy, new: Any, old: Any) -> Verdict:
        """Without warnings: a Scale shows nothing of what they speak of."""
        strategy.default(new)
        return Verdict(super().validate(ref, strategy, new, old).causes)


class Finalize(Whole):
    """The finalizers in the spec of a namespace."""

    replaces = False

    def prepare(self, ref: Ref, strategy: Strategy, body: Any, old: Any) -> None:
        pass

    def default(self, strategy: Strategy, body: Any) -> None:
        pass

    def merge(self, ref: Ref, body: Any, entry: Entry) -> Any:
        new: Any = entry.message
        del new.spec.finalizers[:]
        new.spec.finalizers.extend(body.spec.finalizers)
        new.metadata.resource_version = body.metadata.resource_version
        return new

    def validate(self, ref: Ref, strategy: Strategy, new: Any, old: Any) -> Verdict:
        return Verdict([*_metadata_causes(strategy, new, old), *validate_finalizers(new)])


class Section(Whole):
    """A part of the spec that has a path of its own; what else a body brings is dropped."""

    replaces = False

    def __init__(
        self,
        take: Callable[[Any, Any], None],
        causes: Callable[[Any, Any], list[Cause]],
        judged: Callable[[Ref, Any, Any], Judgement] = judge,
    ) -> None:
        """``take`` puts the section of a body into an object; ``causes`` and ``judged`` say what comes of it, given the object before."""
        self._take, self._causes, self._judged = take, causes, judged

    def merge(self, ref: Ref, body: Any, entry: Entry) -> Any:
        new: Any = entry.message
        self._take(new, body)
        new.metadata.resource_version = body.metadata.resource_version
        return new

    def validate(self, ref: Ref, strategy: Strategy, new: Any, old: Any) -> Verdict:
        strategy.prepare_for_update(new, old)
        judged = self._judged(ref, new, old)
        return Verdict([*_metadata_causes(strategy, new, old), *self._causes(new, old), *judged.causes], judged.warnings)


def _judge_ephemeral_containers(ref: Ref, new: Any, old: Any) -> Judgement:
    """They are judged as the containers of a pod are."""
    found = judge(ref, *(core.Pod(spec=core.PodSpec(containers=ephemeral_containers(pod.spec))) for pod in (new, old)))
    renamed = [replace(cause, field=_as_ephemeral(cause.field)) for cause in found.causes]
    return Judgement(renamed, [_as_ephemeral(words) for words in found.warnings])


def _as_ephemeral(path: str) -> str:
    return path.replace("spec.containers[", "spec.ephemeralContainers[", 1)


def _metadata_causes(strategy: Strategy, new: Any, old: Any) -> list[Cause]:
    return validate_object_meta_update(new.metadata, old.metadata, full_finalizers=strategy.full_finalizers)


PARTS: dict[str, Whole] = {
    "": Whole(),
    "status": Status(),
    "approval": Approval(),
    "scale": Scale(),
    "finalize": Finalize(),
    "ephemeralcontainers": Section(take_ephemeral_containers, validate_ephemeral_containers, _judge_ephemeral_containers),
    "resize": Section(take_containers, validate_resize),
}


def part_of(ref: Ref) -> Whole:
    """Raises BadRequest for a sub-resource that is a stream or can only be posted to."""
    found = PARTS.get(ref.subresource)
    if found is None:
        raise bad_request(f"{ref.resource.plural}/{ref.subresource} is no part of an object: it cannot be read or changed in place")
    return found
