"""The arguments of plugins: ``pluginConfig`` of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knarr.machinery.validation import Path, duplicate, forbidden, invalid, not_found
from services.scheduler.configuration.decoding import Problems, decode
from services.scheduler.configuration.document import API_VERSION, GROUP, PluginConfig
from services.scheduler.registry import Registered


def decode_args(configs: Sequence[PluginConfig], known: Mapping[str, Registered], path: Path, problems: Problems) -> Mapping[str, Any]:
    """Arguments by the names of plugins, of those that have some; what is wrong is added to ``problems``."""
    found: dict[str, Any] = {}
    seen = set[str]()
    for at, config in enumerate(configs):
        where = path.index(at)
        if config.name in seen:
            problems.causes.append(duplicate(where, config.name))
        elif config.name not in known:
            problems.causes.append(not_found(where.child("name"), config.name))
        else:
            args = _decoded(config, known[config.name].args, where.child("args"), problems)
            if args is not None:
                found[config.name] = args
        seen.add(config.name)
    return found


def _decoded(config: PluginConfig, kind: type[Any] | None, path: Path, problems: Problems) -> Any:
    if kind is None:
        if set(config.args) - {"apiVersion", "kind"}:
            problems.causes.append(forbidden(path, f"plugin {config.name} takes no args"))
        return None
    wanted = getattr(kind, "KIND", f"{config.name}Args")
    given, version = config.args.get("kind", wanted), config.args.get("apiVersion", API_VERSION)
    if given != wanted:
        words = f"args for plugin {config.name} were not of type {wanted}.{GROUP}, got {given}.{GROUP}"
        problems.causes.append(invalid(path.child("kind"), str(given), words))
        return None
    if version != API_VERSION:
        problems.causes.append(invalid(path.child("apiVersion"), str(version), f"must be {API_VERSION}"))
    before = len(problems.causes) + len(problems.unknown)
    args = decode(kind, config.args, path, problems, "apiVersion", "kind")
    if len(problems.causes) + len(problems.unknown) == before and hasattr(args, "problems"):
        problems.causes += args.problems(path)
    return args
