"""The strategy of Jobs, and the rules about their specs that the templates of CronJobs share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.machinery.errors import Cause
from knarr.machinery.selectors import label_selector
from knarr.machinery.validation import (
    CUT,
    Path,
    check_immutable,
    check_not_negative,
    dns1123_label,
    invalid,
    not_supported,
    required,
)
from knarr.objects.conditions import get_condition, is_true
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from services.apiserver.strategies.duration import human_duration, since
from services.apiserver.strategies.jobpolicies import (
    validate_failure_policy,
    validate_managed_by,
    validate_replacement_policy,
    validate_success_policy,
)
from services.apiserver.strategies.jobstatus import validate_job_status
from services.apiserver.strategies.paths import METADATA, SPEC
from services.apiserver.strategies.pod.validation import validate_template
from services.apiserver.strategies.pod.warnings import pod_spec_warnings
from services.apiserver.strategies.selectors import selector_shown, validate_label_selector
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns, template_cells
from services.apiserver.strategies.workloads import NAMES_OF_PODS, default_template, not_selected

PREFIX = "batch.kubernetes.io/"
UID, NAME = "controller-uid", "job-name"
INDEXED, NON_INDEXED = "Indexed", "NonIndexed"
MODES = (NON_INDEXED, INDEXED)
RESTART_POLICIES = ("OnFailure", "Never")
BACKOFF_LIMIT, NO_BACKOFF_LIMIT = 6, 2**31 - 1
MAX_PARALLEL_INDEXES = MAX_FAILED_INDEXES = 100_000
# More indexes than this, and only so many of them run or fail at once.
MANY_INDEXES, MANY_LIMIT = 100_000, 10_000
# What may change of the template of a Job that is suspended and has no pods.
DIRECTIVES = ("node_selector", "tolerations", "scheduling_gates")


class JobStrategy(Strategy):
    """A spec change makes a new generation. Unless told otherwise a Job picks its pods by its own uid."""

    columns = columns("Name", "Status", "Completions", "Duration", "Age", wide=("Containers", "Images", "Selector"))

    has_generation = True
    named_after = NAMES_OF_PODS
    selectable_field_names = ("status.successful",)
    orphans_by_default = True
    orphaning_warning = (
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
        "set propagationPolicy=Orphan to suppress this warning"
    )

    def default(self, obj: batch.Job) -> None:
        default_job_spec(obj.spec)
        labels = obj.spec.template.metadata.labels
        if labels and not obj.metadata.labels:
            obj.metadata.labels.update(labels)

    def prepare_for_create(self, obj: batch.Job) -> None:
        super().prepare_for_create(obj)
        if obj.spec.manual_selector:
            return
        labels = obj.spec.template.metadata.labels
        for prefix in ("", PREFIX):
            labels.setdefault(prefix + NAME, obj.metadata.name)
            labels.setdefault(prefix + UID, obj.metadata.uid)
        obj.spec.selector.match_labels.setdefault(PREFIX + UID, obj.metadata.uid)
        self.default(obj)

    def validate(self, obj: batch.Job) -> list[Cause]:
        spec = obj.spec
        causes = _generated(obj) + validate_job_spec(spec, SPEC)
        path = SPEC.child("selector")
        if not spec.HasField("selector"):
            return [*causes, required(path), not_selected(spec)]
        wrong = validate_label_selector(spec.selector, path)
        if not wrong and not label_selector(spec.selector).matches(spec.template.metadata.labels):
            causes.append(not_selected(spec))
        return causes + wrong

    def validate_create(self, obj: batch.Job) -> list[Cause]:
        """The last pod of an indexed Job is called after it, and must be able to have that host name."""
        spec = obj.spec
        if spec.completion_mode != INDEXED or spec.completions <= 0:
            return []
        host = f"{obj.metadata.name}-{spec.completions - 1}"
        words = "will not able to create pod with invalid DNS label"
        return [invalid(METADATA.child("name"), obj.metadata.name, f"{words}: {host}") for _ in dns1123_label(host)[:1]]

    def validate_update(self, new: batch.Job, old: batch.Job) -> list[Cause]:
        causes = _completions(new.spec, old.spec)
        causes += check_immutable(SPEC.child("selector"), new.spec.selector, old.spec.selector, selector_shown(new.spec.selector))
        causes += _template_unchanged(new, old)
        for field, name in (
            ("completion_mode", "completionMode"),
            ("pod_failure_policy", "podFailurePolicy"),
            ("backoff_limit_per_index", "backoffLimitPerIndex"),
            ("managed_by", "managedBy"),
            ("success_policy", "successPolicy"),
        ):
            same = new.spec.HasField(field) == old.spec.HasField(field) and getattr(new.spec, field) == getattr(old.spec, field)
            value = getattr(new.spec, field)
            shown = value if isinstance(value, str | int) else CUT
            causes += check_immutable(SPEC.child(name), same, True, shown)
        return causes

    def validate_status_update(self, new: batch.Job, old: batch.Job) -> list[Cause]:
        return validate_job_status(new, old)

    def warnings(self, obj: batch.Job) -> list[str]:
        return job_warnings(obj.spec, SPEC)

    def selectable_fields(self, obj: batch.Job) -> Mapping[str, str]:
        return {"status.successful": str(obj.status.succeeded)}

    def cells(self, obj: batch.Job, now: datetime) -> list[object]:
        return [obj.metadata.name, _state(obj), _progress(obj), _duration(obj, now), age(obj, now), *template_cells(obj.spec)]


def default_job_spec(spec: batch.JobSpec) -> None:
    """What Kubernetes fills in, the pod template included."""
    default_job_template(spec)
    if not spec.HasField("completions") and not spec.HasField("parallelism"):
        spec.completions = 1
    if not spec.HasField("parallelism"):
        spec.parallelism = 1
    if not spec.HasField("backoff_limit"):
        spec.backoff_limit = NO_BACKOFF_LIMIT if spec.HasField("backoff_limit_per_index") else BACKOFF_LIMIT
    if not spec.HasField("completion_mode"):
        spec.completion_mode = NON_INDEXED
    for flag in ("suspend", "manual_selector"):
        if not spec.HasField(flag):
            setattr(spec, flag, False)
    if not spec.HasField("pod_replacement_policy"):
        spec.pod_replacement_policy = "Failed" if spec.HasField("pod_failure_policy") else "TerminatingOrFailed"


def default_job_template(spec: batch.JobSpec) -> None:
    """What is filled in also before there is a Job."""
    default_template(spec)
    for rule in spec.pod_failure_policy.rules:
        for condition in rule.on_pod_conditions:
            condition.status = condition.status or "True"


def validate_job_spec(spec: batch.JobSpec, path: Path) -> list[Cause]:
    """All but the selector, which the template of a CronJob has none of."""
    names = spec.DESCRIPTOR.fields_by_name
    causes: list[Cause] = []
    for field in (
        "parallelism",
        "completions",
        "active_deadline_seconds",
        "backoff_limit",
        "ttl_seconds_after_finished",
        "backoff_limit_per_index",
        "max_failed_indexes",
    ):
        causes += check_not_negative(path.child(names[field].json_name), getattr(spec, field))
    if spec.HasField("max_failed_indexes") and not spec.HasField("backoff_limit_per_index"):
        causes.append(required(path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
    causes += validate_managed_by(spec, path)
    causes += _indexed(spec, path) if spec.completion_mode == INDEXED else _not_indexed(spec, path)
    causes += validate_failure_policy(spec, path)
    causes += validate_success_policy(spec, path)
    causes += validate_replacement_policy(spec, path)
    causes += validate_template(spec.template, path.child("template"))
    return causes + _restart_policy(spec, path.child("template", "spec", "restartPolicy"))


def job_warnings(spec: batch.JobSpec, path: Path) -> list[str]:
    found: list[str] = []
    if spec.completion_mode == INDEXED and spec.completions > MANY_INDEXES and spec.parallelism > MANY_LIMIT:
        words = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not"
        found.append(f"{path}: {words} be able to track completedIndexes when a big number of indexes fail")
    return found + pod_spec_warnings(spec.template.spec, path.child("template", "spec"))


def _restart_policy(spec: batch.JobSpec, path: Path) -> list[Cause]:
    policy = spec.template.spec.restart_policy
    if policy in ("", "Always"):
        return [required(path, 'valid values: "OnFailure", "Never"')]
    return [] if policy in RESTART_POLICIES else [not_supported(path, policy, RESTART_POLICIES)]


def _indexed(spec: batch.JobSpec, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    limit = f"must be less than or equal to {MAX_PARALLEL_INDEXES} when completion mode is {INDEXED}"
    if not spec.HasField("completions"):
        causes.append(required(path.child("completions"), f"when completion mode is {INDEXED}"))
    if spec.parallelism > MAX_PARALLEL_INDEXES:
        causes.append(invalid(path.child("parallelism"), spec.parallelism, limit))
    if spec.HasField("max_failed_indexes"):
        here = path.child("maxFailedIndexes")
        if spec.HasField("completions") and spec.max_failed_indexes > spec.completions:
            causes.append(invalid(here, spec.max_failed_indexes, "must be less than or equal to completions"))
        if spec.max_failed_indexes > MAX_FAILED_INDEXES:
            causes.append(invalid(here, spec.max_failed_indexes, f"must be less than or equal to {MAX_FAILED_INDEXES}"))
    if spec.completions > MANY_INDEXES and spec.HasField("backoff_limit_per_index"):
        many = f"when completions are above {MANY_INDEXES} and used with backoff limit per index"
        if spec.max_failed_indexes > MANY_LIMIT:
            words = f"must be less than or equal to {MANY_LIMIT} {many}"
            causes.append(invalid(path.child("maxFailedIndexes"), spec.max_failed_indexes, words))
        if not spec.HasField("max_failed_indexes"):
            causes.append(required(path.child("maxFailedIndexes"), f"must be specified when completions is above {MANY_INDEXES}"))
        if spec.parallelism > MANY_LIMIT:
            causes.append(invalid(path.child("parallelism"), spec.parallelism, f"must be less than or equal to {MANY_LIMIT} {many}"))
    return causes


def _not_indexed(spec: batch.JobSpec, path: Path) -> list[Cause]:
    causes = [] if spec.completion_mode in MODES else [not_supported(path.child("completionMode"), spec.completion_mode, MODES)]
    for field, name in (("backoff_limit_per_index", "backoffLimitPerIndex"), ("max_failed_indexes", "maxFailedIndexes")):
        if spec.HasField(field):
            causes.append(invalid(path.child(name), getattr(spec, field), "requires indexed completion mode"))
    return causes


def _generated(obj: batch.Job) -> list[Cause]:
    """A selector that was not chosen by hand picks the pods of this very Job. One from before 1.27 does so without the prefixed labels."""
    if obj.spec.manual_selector or not obj.spec.HasField("selector"):
        return []
    metadata = SPEC.child("template", "metadata")
    causes = [] if obj.metadata.uid else [required(METADATA.child("uid"))]
    expected = {}
    for prefix in ("", PREFIX):
        for label, value in ((UID, obj.metadata.uid), (NAME, obj.metadata.name)):
            expected[prefix + label] = value
    found = obj.spec.template.metadata.labels
    for label, value in expected.items():
        # Those without the prefix are there for who still reads them.
        if label not in found and label.startswith(PREFIX) and PREFIX + UID in obj.spec.selector.match_labels:
            causes.append(required(metadata.child("labels").key(label), f"must be '{value}'"))
        elif label in found and found[label] != value:
            causes.append(invalid(metadata.child("labels").key(label), found[label], f"must be '{value}'"))
    if not validate_label_selector(obj.spec.selector, SPEC) and not label_selector(obj.spec.selector).matches(expected):
        causes.append(invalid(SPEC.child("selector"), selector_shown(obj.spec.selector), "`selector` not auto-generated"))
    return causes


def _completions(new: batch.JobSpec, old: batch.JobSpec) -> list[Cause]:
    """The completions of an indexed Job change with its parallelism: it is elastic."""
    path = SPEC.child("completions")
    if new.completion_mode != INDEXED or (new.HasField("completions"), new.completions) == (old.HasField("completions"), old.completions):
        after, before = (spec.completions if spec.HasField("completions") else None for spec in (new, old))
        return check_immutable(path, after, before)
    if new.completions == new.parallelism:
        return []
    return [invalid(path, new.completions, "can only be modified in tandem with spec.parallelism")]


def _template_unchanged(new: batch.Job, old: batch.Job) -> list[Cause]:
    found, was = new.spec.template, old.spec.template
    if _may_be_rewritten(old):
        found, was = copy_of(found), copy_of(was)
        for template in (found, was):
            template.metadata.ClearField("labels")
            template.metadata.ClearField("annotations")
            template.spec.affinity.ClearField("node_affinity")
            template.spec.affinity.SetInParent()
            for field in DIRECTIVES:
                template.spec.ClearField(field)
            for container in (*template.spec.containers, *template.spec.init_containers):
                container.ClearField("resources")
    return check_immutable(SPEC.child("template"), found, was, CUT)


def _may_be_rewritten(job: batch.Job) -> bool:
    """Whether it is suspended, and no pod of it is left from before."""
    suspended = is_true(job.status, "Suspended") or not job.status.HasField("start_time")
    return bool(job.spec.suspend and suspended and not job.status.active)


def _state(obj: batch.Job) -> str:
    for word in ("Complete", "Failed"):
        if is_true(obj.status, word):
            return word
    if is_deleting(obj):
        return "Terminating"
    for word in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if is_true(obj.status, word):
            return word
    return "Running"


def _progress(obj: batch.Job) -> str:
    if obj.spec.HasField("completions"):
        return f"{obj.status.succeeded}/{obj.spec.completions}"
    return f"{obj.status.succeeded}/1 of {obj.spec.parallelism}" if obj.spec.parallelism > 1 else f"{obj.status.succeeded}/1"


def _duration(obj: batch.Job, now: datetime) -> str:
    status = obj.status
    if not status.HasField("start_time"):
        return ""
    if status.HasField("completion_time"):
        return human_duration(status.completion_time.seconds - status.start_time.seconds)
    failed = get_condition(status, "Failed")
    if failed is not None and failed.status == "True":
        return human_duration(failed.last_transition_time.seconds - status.start_time.seconds)
    return since(status.start_time, now)
