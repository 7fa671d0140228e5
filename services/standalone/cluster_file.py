"""``knarr.yaml``: what a person chooses about a cluster, in a file that is kept with a project.

Its fields are the options of ``knarr up``, and so are its JSON schema and the words for mistakes: nothing is written twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import document_of, read_configuration
from knarr.service.options import optional_log, optional_path
from services.standalone.options import options
from services.standalone.settings import AMOUNT, Choice, Ports

API_VERSION, KIND = "knarr.dev/v1", "Cluster"
# Fields of the file that are no settings of a cluster.
NAME, PORTS = "name", "ports"
HEAD = ("apiVersion", "kind", NAME, PORTS)
# Parts of names that are written large.
INITIALS = frozenset({"cidr", "cpu"})
NAME_WORDS = "the cluster's name, as `--name` has it; without one it is that of --data-dir"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the file: the option that says the same, without dashes before it, and its default."""

    option: str
    choice: Choice
    default: Any


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """``given`` is by the options' names with underscores, as ``settings_from`` takes it; ``name`` may be empty."""

    name: str
    given: Mapping[str, Any]


def fields() -> dict[str, Field]:
    """By their names in the file, those of ``ports`` left out."""
    return {_key(option): Field(option, choice, default) for option, choice, default in options() if not _is_port(option)}


def port_fields() -> dict[str, Field]:
    """Those of ``ports``, by their names there."""
    return {_port(option): Field(option, choice, default) for option, choice, default in options() if _is_port(option)}


def read_cluster_file(file: Path) -> ClusterFile:
    """Raises CommandError with the file, the field and the way out. Paths in it count from its folder."""
    return read_configuration(file, KIND, lambda text: _parsed(document_of(text, API_VERSION, KIND), file.absolute().parent))


def _parsed(document: Mapping[str, Any], folder: Path) -> ClusterFile:
    known = fields()
    _refuse_unknown(document, [*HEAD, *known], "")
    ports, port_known = document.get(PORTS) or {}, port_fields()
    if not isinstance(ports, dict):
        raise ValueError(f"{PORTS}: must be a mapping")
    _refuse_unknown(ports, port_known, f"{PORTS}: ")
    given = {_attribute(known[key]): _value(value, key, known[key], folder) for key, value in document.items() if key in known}
    given |= {_attribute(port_known[key]): _value(value, f"{PORTS}.{key}", port_known[key], folder) for key, value in ports.items()}
    name = document.get(NAME, "")
    if not isinstance(name, str):
        raise ValueError(f"{NAME}: {name!r} is no text")
    return ClusterFile(name, given)


def _refuse_unknown(section: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    names = list(known)
    by_small_letters = {name.lower(): name for name in names}
    for key in map(str, section):
        if key not in names:
            near = difflib.get_close_matches(key.lower().replace("-", "").replace("_", ""), by_small_letters, n=1, cutoff=0.0)
            raise ValueError(f"{place}unknown field {key!r}; the nearest that there is is {by_small_letters[near[0]]!r}")


def _value(value: Any, path: str, field: Field, folder: Path) -> Any:
    if isinstance(value, list) and field.choice.metavar.endswith(",...") and all(isinstance(one, str) for one in value):
        value = ",".join(value)
    if field.choice.metavar == AMOUNT and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, bool) or not isinstance(value, type(field.default) if isinstance(field.default, int) else str):
        raise ValueError(f"{path}: {value!r} is no {'number' if isinstance(field.default, int) else 'text'}")
    if field.choice.parse in (optional_path, optional_log) and value not in ("", "-", "none"):
        value = str(folder / str(value))
    try:
        return field.choice.parse(str(value))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{path}: {error}") from error


def schema() -> dict[str, Any]:
    """The JSON schema of the file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{KIND} of {API_VERSION}",
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": KIND},
            NAME: {"type": "string", "description": NAME_WORDS},
            **{key: _schema_of(field) for key, field in fields().items()},
            PORTS: {
                "type": "object",
                "additionalProperties": False,
                "properties": {key: _schema_of(field) for key, field in port_fields().items()},
            },
        },
    }


def _schema_of(field: Field) -> dict[str, Any]:
    words = {"description": f"{field.choice.help} (--{field.option})", "default": field.default}
    if isinstance(field.default, int):
        return {"type": "integer", **words}
    if field.choice.among:
        return {"enum": list(field.choice.among), **words}
    if field.choice.metavar.endswith(",..."):
        return {"type": ["string", "array"], "items": {"type": "string"}, **words}
    if field.choice.metavar == AMOUNT:
        return {"type": ["string", "number"], **words}
    return {"type": "string", **words}


def _key(option: str) -> str:
    """As Kubernetes writes names: podCIDR for pod-cidr."""
    first, *others = option.split("-")
    return first + "".join(part.upper() if part in INITIALS else part.capitalize() for part in others)


def _attribute(field: Field) -> str:
    return field.option.replace("-", "_")


def _port(option: str) -> str:
    return option.removesuffix("-port")


def _is_port(option: str) -> bool:
    return option.endswith("-port") and _port(option) in {field.name for field in dataclasses.fields(Ports)}
