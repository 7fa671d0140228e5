"""A pod, or a pod template, as the standards look at it, and the words in which they speak of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import every_container, has_own_users


class Subject:
    """``containers`` are all of them: init containers, main ones, ephemeral ones."""

    def __init__(self, annotations: Mapping[str, str], spec: core.PodSpec) -> None:
        self.annotations, self.spec = annotations, spec

    @cached_property
    def containers(self) -> Sequence[core.Container]:
        return every_container(self.spec)

    @cached_property
    def contexts(self) -> Sequence[core.PodSecurityContext | core.SecurityContext]:
        """What the pod and its containers say of their security."""
        return [self.spec.security_context, *(container.security_context for container in self.containers)]

    @property
    def is_windows(self) -> bool:
        return bool(self.spec.os.name == "windows")

    @property
    def has_own_users(self) -> bool:
        """Whether root inside is nobody outside."""
        return has_own_users(self.spec)

    def those(self, chosen: Callable[[core.Container], bool]) -> list[str]:
        """The names of some containers."""
        return [container.name for container in self.containers if chosen(container)]


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def plural(one: str, many: str, things: Sequence[object]) -> str:
    return one if len(things) == 1 else many


def containers(names: Sequence[str]) -> str:
    """``container "a"``, ``containers "a", "b"``."""
    return f"{plural('container', 'containers', names)} {quoted(names)}"


def setters(pod: bool, names: Sequence[str]) -> str:
    """``pod and container "a"``; empty for nobody."""
    return " and ".join([*(["pod"] if pod else []), *([containers(names)] if names else [])])
