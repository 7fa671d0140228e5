"""A policy file → a Policy. What is wrong with it is told with its field; what is no YAML, with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import document_of, read_configuration, refuse_others
from services.apiserver.audit.policy import STAGES, WORDS, Policy, Resources, Rule

API_VERSION, KIND = "audit.k8s.io/v1", "Policy"
MOST_RULES = 1000
LEVELS = {word: level for level, word in WORDS.items()}
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def read_policy(file: Path) -> Policy:
    """What a file says; raises CommandError."""
    return read_configuration(file, KIND, parse_policy)


def parse_policy(text: bytes) -> Policy:
    """What a document says; raises ValueError with the field, or the line where it is no YAML."""
    document = document_of(text, API_VERSION, KIND)
    refuse_others(document, "", "apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields")
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules:
        raise ValueError("rules: there must be one at least, since what no rule covers is not kept")
    if len(rules) > MOST_RULES:
        raise ValueError(f"rules: there are {len(rules)}, at most {MOST_RULES} are taken")
    return Policy(
        [_rule(rule, f"rules[{at}]") for at, rule in enumerate(rules)],
        _stages(document, ""),
        omits_managed_fields=bool(_flag(document, "omitManagedFields", "")),
    )


def _rule(rule: Any, path: str) -> Rule:
    known = ("level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages", "omitManagedFields")
    refuse_others(rule, path, *known)
    level = LEVELS.get(str(rule.get("level")))
    if level is None:
        raise ValueError(f"{path}.level: must be one of {', '.join(LEVELS)}")
    resources = tuple(_resources(found, f"{path}.resources[{at}]") for at, found in enumerate(_list(rule, "resources", path)))
    namespaces, paths = _texts(rule, "namespaces", path), _texts(rule, "nonResourceURLs", path)
    if paths and (resources or namespaces):
        raise ValueError(f"{path}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
    for at, found in enumerate(paths):
        _check_path(found, f"{path}.nonResourceURLs[{at}]")
    return Rule(
        level,
        _texts(rule, "users", path),
        _texts(rule, "userGroups", path),
        _texts(rule, "verbs", path),
        resources,
        namespaces,
        paths,
        _stages(rule, path),
        _flag(rule, "omitManagedFields", path),
    )


def _resources(found: Any, path: str) -> Resources:
    refuse_others(found, path, "group", "resources", "resourceNames")
    group = found.get("group") or ""
    if not isinstance(group, str) or (group and not _GROUP.fullmatch(group)):
        raise ValueError(f"{path}.group: must be the name of a group without its version, like apps; empty for that of pods")
    resources, names = _texts(found, "resources", path), _texts(found, "resourceNames", path)
    if names and not resources:
        raise ValueError(f"{path}.resourceNames: using resourceNames requires at least one resource")
    return Resources(group, resources, names)


def _check_path(found: str, path: str) -> None:
    if found != "*" and not found.startswith("/"):
        raise ValueError(f"{path}: must begin with a slash")
    if "*" in found[:-1]:
        raise ValueError(f"{path}: a wildcard must be the last letter")


def _stages(holder: Any, path: str) -> frozenset[str]:
    found = _texts(holder, "omitStages", path)
    for at, stage in enumerate(found):
        if stage not in STAGES:
            raise ValueError(f"{path}.omitStages[{at}]: must be one of {', '.join(STAGES)}".lstrip("."))
    return frozenset(found)


def _flag(holder: Any, name: str, path: str) -> bool | None:
    found = holder.get(name)
    if found is not None and not isinstance(found, bool):
        raise ValueError(f"{path}.{name}: must be true or false".lstrip("."))
    return found


def _texts(holder: Any, name: str, path: str) -> tuple[str, ...]:
    found = _list(holder, name, path)
    for at, text in enumerate(found):
        if not isinstance(text, str):
            raise ValueError(f"{path}.{name}[{at}]: must be text".lstrip("."))
    return tuple(found)


def _list(holder: Any, name: str, path: str) -> list[Any]:
    found = holder.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError(f"{path}.{name}: must be a list".lstrip("."))
    return found
