"""The file of an AdmissionConfiguration (``apiserver.config.k8s.io/v1``), as kube-apiserver reads it.

    apiVersion: apiserver.config.k8s.io/v1
    kind: AdmissionConfiguration
    plugins:
    - name: PodSecurity
      configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: baseline}}

A plugin's configuration stands in it, or in another file that ``path`` names, from the folder of this one on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import read_configuration, refuse_repeated, sole_document
from knarr.service.errors import CommandError
from services.apiserver.admission.pod_security.configuration import pod_security_configuration

API_VERSION, KIND = "apiserver.config.k8s.io/v1", "AdmissionConfiguration"
# By plugin: what makes sense of its configuration. All others have none.
READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {"PodSecurity": pod_security_configuration}


def read_admission(file: Path | None) -> Mapping[str, Any]:
    """What a file says, by the names of plugins; nothing without one. Raises CommandError."""
    if file is None:
        return {}
    said = _document(file, KIND)
    if (said.get("apiVersion"), said.get("kind")) != (API_VERSION, KIND):
        raise CommandError(f"{file} is a {said.get('apiVersion')} {said.get('kind')}, and not a {API_VERSION} {KIND}")
    plugins = said.get("plugins") or []
    if not isinstance(plugins, list) or not all(isinstance(plugin, Mapping) for plugin in plugins):
        raise CommandError(f"{file}: plugins is no list of mappings")
    found: dict[str, Any] = {}
    for plugin in plugins:
        name = plugin.get("name")
        if name not in READERS:
            raise CommandError(f"{file}: no plugin {name!r} has a configuration; those that have one are {', '.join(sorted(READERS))}")
        if name in found:
            raise CommandError(f"{file} has two configurations of {name}")
        found[name] = _configuration(file, name, plugin)
    return found


def _configuration(file: Path, name: str, plugin: Mapping[str, Any]) -> Any:
    said, path = plugin.get("configuration"), plugin.get("path") or ""
    if said is None:
        if not isinstance(path, str) or not path:
            raise CommandError(f"{file}: {name} has neither a configuration nor a path to one")
        file = file.parent / path
        said = _document(file, f"configuration of {name}")
    if not isinstance(said, Mapping):
        raise CommandError(f"{file}: the configuration of {name} is no mapping")
    try:
        return READERS[name](said)
    except ValueError as error:
        raise CommandError(f"{file}: {name}: {error}") from error


def _document(file: Path, kind: str) -> Mapping[str, Any]:
    return read_configuration(file, kind, _fields)


def _fields(text: bytes) -> Mapping[str, Any]:
    found = sole_document(text)
    if found is None:
        raise ValueError("it is no single document with names and values")
    refuse_repeated(found)
    return found
