"""The file of ``--cloud-config``: one section for each provider, read into that provider's settings.

    local:
      pool: [10.97.0.0/24]
    external:
      address: provider.example.com:10300

Fields are written like ``caFile`` and are the dataclass' fields ``ca_file``. Types are checked: str, int, float, bool, Path,
tuple[str, ...], dict[str, str], dataclasses of these, and each of them ``| None``. Only the section of the provider in use is looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

S = TypeVar("S")

_SCALARS: dict[type, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    Path: ((str,), "a path"),
}
_KINDS = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a section", type(None): "empty"}


class ConfigurationError(ValueError):
    """The file cannot be used; the text names the field and the way out."""


def load_sections(path: Path, providers: Iterable[str]) -> dict[str, Any]:
    """The sections of a file by provider; ConfigurationError when it is no such file."""
    known = sorted(providers)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must have a section for each provider, not {_KINDS.get(type(content), 'this')}")
    for name in content:
        if name not in known:
            raise ConfigurationError(f"{path}: {name}: unknown provider; there are {', '.join(known)}")
    return content


def read_section(settings: type[S], section: Any, name: str) -> S:
    """A section as settings; ConfigurationError names the field that is wrong. None is an empty section."""
    return _dataclass(settings, {} if section is None else section, name)


def _dataclass(settings: type[S], section: Any, where: str) -> S:
    if not isinstance(section, Mapping):
        raise _mismatch(where, "a section with fields", section)
    hints = get_type_hints(settings)
    names = {_camel(field.name): field.name for field in fields(settings)}  # type: ignore[arg-type]
    for key in section:
        if key not in names:
            raise ConfigurationError(f"{where}.{key}: unknown field; there are {', '.join(sorted(names))}")
    values = {names[key]: _value(hints[names[key]], value, f"{where}.{key}") for key, value in section.items()}
    for key, name in names.items():
        if name not in values and _is_required(settings, name):
            raise ConfigurationError(f"{where}.{key}: must be given")
    try:
        return settings(**values)
    except ValueError as error:
        raise ConfigurationError(f"{where}.{_as_written(str(error))}") from error


def _is_required(settings: type[Any], name: str) -> bool:
    return any(field.name == name and field.default is MISSING and field.default_factory is MISSING for field in fields(settings))


def _value(wanted: Any, value: Any, where: str) -> Any:
    # An optional field that is written has a value.
    kinds = [kind for kind in get_args(wanted) if kind is not type(None)] if isinstance(wanted, UnionType) else [wanted]
    kind = kinds[0]
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _mismatch(where, "a list", value)
        return tuple(_value(get_args(kind)[0], one, f"{where}[{index}]") for index, one in enumerate(value))
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise _mismatch(where, "a section with fields", value)
        return {str(key): _value(get_args(kind)[1], one, f"{where}.{key}") for key, one in value.items()}
    accepted, words = _SCALARS[kind]
    # True is an int to Python, and not to people.
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _mismatch(where, words, value)
    return kind(value)


def _mismatch(where: str, wanted: str, value: Any) -> ConfigurationError:
    return ConfigurationError(f"{where}: must be {wanted}, not {_KINDS.get(type(value), 'this')}")


def _camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda found: found.group(1).upper(), name)


def _as_written(text: str) -> str:
    """``ca_file: must …``, as the settings say it, with the field as it stands in the file."""
    name, colon, rest = text.partition(":")
    return _camel(name) + colon + rest
