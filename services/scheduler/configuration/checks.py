"""What is wrong with a configuration beside its plugins, in Kubernetes' words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from knarr.client.leader import LeaseSettings
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, Structure, duplicate, invalid, qualified_name, required
from knarr.objects.amounts import is_extended
from services.scheduler.configuration.document import Document, LeaderElection, PluginEntry, PluginSet, SchedulerProfile
from services.scheduler.extender import Extender


def check_document(document: Document) -> Iterator[Cause]:
    """Of the fields that it has itself, its profiles' names and its extenders."""
    if (burst := document.client_connection.burst) is not None and burst < 0:
        yield invalid("clientConnection.burst", burst, "must be non-negative")
    yield from _check_election(document.leader_election, Path("leaderElection"))
    if document.parallelism <= 0:
        yield invalid("parallelism", document.parallelism, "should be an integer value greater than zero")
    yield from _check_profiles(document.profiles, Path("profiles"))
    yield from _check_percentage(document.percentage_of_nodes_to_score, Path("percentageOfNodesToScore"))
    first, most = document.pod_initial_backoff_seconds, document.pod_max_backoff_seconds
    if first <= 0:
        yield invalid("podInitialBackoffSeconds", first, "must be greater than 0")
    if most < first:
        yield invalid("podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds")
    yield from _check_extenders(document.extenders, Path("extenders"))


def _check_election(found: LeaderElection, path: Path) -> Iterator[Cause]:
    if not found.leader_elect:
        return
    fresh = LeaseSettings()
    duration = fresh.duration_seconds if found.lease_duration is None else found.lease_duration
    deadline = fresh.renew_deadline_seconds if found.renew_deadline is None else found.renew_deadline
    retry = fresh.retry_seconds if found.retry_period is None else found.retry_period
    for name, value in (("leaseDuration", duration), ("renewDeadline", deadline), ("retryPeriod", retry)):
        if value <= 0:
            yield invalid(path.child(name), f"{value:g}s", "must be greater than zero")
    if duration <= deadline:
        yield invalid(path.child("leaseDuration"), f"{deadline:g}s", "LeaseDuration must be greater than RenewDeadline")
    if deadline <= retry:
        yield invalid(path.child("renewDeadline"), f"{retry:g}s", "RenewDeadline must be greater than RetryPeriod")
    if found.resource_lock != "leases":
        yield invalid(path.child("resourceLock"), found.resource_lock, 'resourceLock value must be "leases"')


def _check_percentage(value: int | None, path: Path) -> Iterator[Cause]:
    if value is not None and not 0 <= value <= 100:
        yield invalid(path, value, "not in valid range [0-100]")


def _check_profiles(profiles: Sequence[SchedulerProfile], path: Path) -> Iterator[Cause]:
    places: dict[str, Path] = {}
    first = profiles[0].plugins.queue_sort
    if len(first.enabled) > 1:
        where = path.index(0).child("plugins", "queueSort", "Enabled")
        yield invalid(where, len(first.enabled), "only one queue sort plugin can be enabled")
    for at, profile in enumerate(profiles):
        where = path.index(at).child("schedulerName")
        if not profile.scheduler_name:
            yield required(where)
        elif profile.scheduler_name in places:
            yield duplicate(where, places[profile.scheduler_name])
        places[profile.scheduler_name] = where
        yield from _check_percentage(profile.percentage_of_nodes_to_score, path.index(at).child("percentageOfNodesToScore"))
        if profile.plugins.queue_sort != first:
            where = path.index(at).child("plugins", "queueSort")
            yield invalid(where, _shown(profile.plugins.queue_sort), "must be the same for all profiles")


def _shown(found: PluginSet) -> Structure:
    def entries(listed: Sequence[PluginEntry]) -> list[Structure]:
        return [Structure(Name=entry.name, Weight=entry.weight) for entry in listed]

    return Structure(Enabled=entries(found.enabled), Disabled=entries(found.disabled))


def _check_extenders(extenders: Sequence[Extender], path: Path) -> Iterator[Cause]:
    seen = set[str]()
    for at, extender in enumerate(extenders):
        where = path.index(at)
        if not extender.url_prefix.startswith(("http://", "https://")):
            yield invalid(where.child("urlPrefix"), extender.url_prefix, "must be the beginning of a URL, http:// or https://")
        if extender.prioritize_verb and extender.weight <= 0:
            yield invalid(where.child("weight"), extender.weight, "must have a positive weight applied to it")
        if extender.http_timeout is not None and extender.http_timeout < 0:
            yield invalid(where.child("httpTimeout"), f"{extender.http_timeout:g}s", "must not be negative")
        for number, resource in enumerate(extender.managed_resources):
            name = where.child("managedResources").index(number).child("name")
            if words := qualified_name(resource.name):
                yield from (invalid(name, resource.name, word) for word in words)
            elif not is_extended(resource.name):
                yield invalid(name, resource.name, "is an invalid extended resource name")
            if resource.name in seen:
                yield invalid(name, resource.name, "duplicate extender managed resource name")
            seen.add(resource.name)
    binders = sum(bool(extender.bind_verb) for extender in extenders)
    if binders > 1:
        yield invalid(path, f"found {binders} extenders implementing bind", "only one extender can implement bind")
