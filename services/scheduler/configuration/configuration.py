"""A KubeSchedulerConfiguration as the scheduler takes it: read, completed with Kubernetes' defaults, and validated in its words. Pure.

https://kubernetes.io/docs/reference/scheduling/config/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, required
from knarr.service.configuration_file import document_of
from services.scheduler.configuration.checks import check_document
from services.scheduler.configuration.decoding import Problems, decode, fields_of
from services.scheduler.configuration.document import (
    API_VERSION,
    KIND,
    Document,
    LeaderElection,
    PluginConfig,
    PluginEntry,
    Plugins,
    SchedulerProfile,
)
from services.scheduler.configuration.plugin_args import decode_args
from services.scheduler.configuration.plugin_sets import Chosen, check_bindable, choose
from services.scheduler.configuration.unused import unused
from services.scheduler.extender import Extender
from services.scheduler.plugin import Plugin
from services.scheduler.plugins.resources.arguments import NodeResourcesFitArgs
from services.scheduler.preemption import DefaultPreemptionArgs
from services.scheduler.profile import DEFAULT_SCHEDULER, ProfileSettings
from services.scheduler.registry import PREEMPTION, Registered, registered_remote, registry
from services.scheduler.remote_plugin import RemotePlugin, SchedulerPluginServiceArgs

FIT = "NodeResourcesFit"
UNTOLD = LeaderElection()


@dataclass(frozen=True, slots=True)
class Configuration:
    """``unused`` is what is said and makes no difference, a sentence each. Times are in seconds."""

    profiles: tuple[ProfileSettings, ...] = (ProfileSettings(),)
    backoff_first_seconds: float = 1.0
    backoff_limit_seconds: float = 10.0
    leader_election: LeaderElection = UNTOLD
    extenders: tuple[Extender, ...] = ()
    unused: tuple[str, ...] = ()


def _nobody(name: str) -> Registered | None:
    return None


def parse_configuration(text: bytes, find: Callable[[str], Registered | None] = _nobody) -> Configuration:
    """Raises ValueError with all that is wrong and where. ``find``, which may raise it too, knows plugins beside those of the catalog."""
    raw = document_of(text, API_VERSION, KIND)
    problems = Problems()
    document = _with_a_profile(decode(Document, raw, Path(""), problems, "apiVersion", "kind"))
    # What does not fit the fields was left out: what is said of the rest of it might mislead.
    problems.refuse()
    problems.causes += check_document(document)
    known = _known(document, find)
    profiles = [_profile(one, Path("profiles").index(at), known, problems) for at, one in enumerate(document.profiles)]
    problems.refuse()
    return Configuration(
        profiles=tuple(_without(profile, _ignored(document.extenders)) for profile in profiles),
        backoff_first_seconds=document.pod_initial_backoff_seconds,
        backoff_limit_seconds=document.pod_max_backoff_seconds,
        leader_election=document.leader_election,
        extenders=document.extenders,
        unused=tuple(unused(raw, document)),
    )


def _known(document: Document, find: Callable[[str], Registered | None]) -> Mapping[str, Registered]:
    """The plugins of the catalog, and the others that profiles name, as far as there are such."""
    known = dict(registry())
    sets = (getattr(profile.plugins, name) for profile in document.profiles for name, _ in fields_of(Plugins).values())
    named = {entry.name for found in sets for entry in found.enabled}
    named |= {config.name for profile in document.profiles for config in profile.plugin_config}
    remote = {config.name for profile in document.profiles for config in profile.plugin_config if _is_remote(config)}
    for name in sorted(named - set(known) - {""}):
        found = registered_remote(name) if name in remote else find(name)
        if found is not None:
            known[name] = found
    return known


def _is_remote(config: PluginConfig) -> bool:
    return config.args.get("kind") == SchedulerPluginServiceArgs.KIND


def _with_a_profile(document: Document) -> Document:
    """A single profile may leave out its name, and no profile at all is one."""
    profiles = document.profiles or (SchedulerProfile(),)
    if len(profiles) == 1 and not profiles[0].scheduler_name:
        profiles = (dataclasses.replace(profiles[0], scheduler_name=DEFAULT_SCHEDULER),)
    return dataclasses.replace(document, profiles=profiles)


def _profile(found: SchedulerProfile, path: Path, known: Mapping[str, Registered], problems: Problems) -> ProfileSettings:
    defaults = [PluginEntry(one.name, one.weight) for one in known.values() if one.default]
    chosen, causes = choose(found.plugins, known, defaults, path.child("plugins"))
    problems.causes += causes
    args = decode_args(found.plugin_config, known, path.child("pluginConfig"), problems)
    if not causes:
        problems.causes += check_bindable(chosen, found.scheduler_name, path.child("plugins"))
    problems.causes += _check_remote(chosen, args, known, path.child("pluginConfig"))
    preempts = PREEMPTION in chosen.points.get("postFilter", ())
    return ProfileSettings(
        name=found.scheduler_name,
        filters=_plugins(chosen, "filter", known),
        scores=[(plugin, chosen.weights[plugin.name]) for plugin in _plugins(chosen, "score", known)],
        preparing=_plugins(chosen, "preBind", known),
        args=args,
        preemption=args.get(PREEMPTION, DefaultPreemptionArgs()) if preempts else None,
    )


def _check_remote(chosen: Chosen, args: Mapping[str, Any], known: Mapping[str, Registered], path: Path) -> Iterator[Cause]:
    """Each profile says where the process is whose plugin it enables."""
    for name in dict.fromkeys(name for names in chosen.points.values() for name in names):
        kind = known[name].plugin
        if kind is not None and issubclass(kind, RemotePlugin) and name not in args:
            yield required(path, f'plugin "{name}" is a process of its own: {SchedulerPluginServiceArgs.KIND} say how it is reached')


def _plugins(chosen: Chosen, point: str, known: Mapping[str, Registered]) -> Sequence[type[Plugin]]:
    found = (known[name].plugin for name in chosen.points.get(point, ()))
    return [plugin for plugin in found if plugin is not None]


def _ignored(extenders: Sequence[Extender]) -> tuple[str, ...]:
    """Resources that extenders look after alone."""
    return tuple(resource.name for one in extenders for resource in one.managed_resources if resource.ignored_by_scheduler)


def _without(profile: ProfileSettings, resources: tuple[str, ...]) -> ProfileSettings:
    """A profile that does not look at these resources."""
    if not resources:
        return profile
    args: Any = profile.args.get(FIT, NodeResourcesFitArgs())
    args = dataclasses.replace(args, ignored_resources=(*args.ignored_resources, *resources))
    return dataclasses.replace(profile, args={**profile.args, FIT: args})
