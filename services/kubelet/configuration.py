"""A KubeletConfiguration: what Kubernetes' kubelet is told by ``--config``, as the flags that say the same here.

Each field of Kubernetes 1.37 has its line in ``configuration.tsv``: it is honoured, or has these values only and is refused by name with
any other one, or has nothing to say here and is told so in the log. Flags that are given beside the file win.
https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import document_of, read_configuration, refuse_others
from knarr.service.errors import CommandError
from services.kubelet.thresholds import DEFAULT_HARD

log = logging.getLogger(__name__)

API_VERSION, KIND = "kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"
FILE = Path(__file__).with_name("configuration.tsv")
HONOURED, ONLY, IDLE = STATES = ("honoured", "only", "idle")
# A time of nothing is the default there.
ZERO_IS_DEFAULT = ("imageMinimumGCAge", "evictionPressureTransitionPeriod")
# What says nothing.
EMPTY: tuple[Any, ...] = ("", "0s", "0", 0, False, [], {})
# What fields without a rule of their own are.
MAPPINGS = (
    "cpuManagerPolicyOptions",
    "evictionSoft",
    "evictionSoftGracePeriod",
    "evictionMinimumReclaim",
    "systemReserved",
    "kubeReserved",
)
LISTS = ("preloadedImagesVerificationAllowlist", "allowedUnsafeSysctls")
SCALAR: tuple[tuple[type, ...], str] = (str, int), "text, a whole number, or true or false"
# What stands between a signal and its amount.
BELOW = ("evictionHard", "evictionSoft")


@dataclass(frozen=True, slots=True)
class Row:
    """A field. ``flag`` is given where it is honoured, ``values`` where it has some only; ``words`` say why, or what else is so."""

    field: str
    state: str
    flag: str
    values: tuple[Any, ...]
    words: str


def rows() -> dict[str, Row]:
    """All fields, by their names with dots."""
    with FILE.open(newline="") as file:
        read = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {line["field"]: _row(line) for line in read}


def _row(line: Mapping[str, str]) -> Row:
    only = line["state"] == ONLY
    values = tuple(json.loads(line["detail"])) if only else ()
    return Row(line["field"], line["state"], "" if only else line["detail"], values, line["words"])


def add_configuration_flag(parser: argparse.ArgumentParser) -> None:
    """Adds ``--config``, which ``with_configuration`` looks for."""
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"a {KIND} of Kubernetes; flags that are given beside it win")


def with_configuration(parser: argparse.ArgumentParser, given: Sequence[str]) -> list[str]:
    """The arguments with those that a file says before them. Raises ValueError with the field that is no good."""
    looking = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    add_configuration_flag(looking)
    try:
        file = looking.parse_known_args(given)[0].config
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    if file is None:
        return list(given)
    try:
        return [*read_configuration(file, KIND, partial(flags_of, parser=parser)), *given]
    except CommandError as error:
        raise ValueError(f"--config: {error}") from error


def flags_of(text: bytes, parser: argparse.ArgumentParser) -> list[str]:
    """The flags that say what a document says; raises ValueError with the place of what is wrong. What has nothing to say here
    is logged."""
    document, known = document_of(text, API_VERSION, KIND), rows()
    said = dict(_fields({name: value for name, value in document.items() if name not in ("apiVersion", "kind")}, known))
    words: dict[str, str] = {}
    for name, value in said.items():
        row = known[name]
        if row.state == ONLY and value not in row.values:
            raise ValueError(f"{name}: {json.dumps(value)} cannot be had: {row.words}; {_way_out(row)}")
        if row.state == IDLE and value not in EMPTY:
            log.warning(f"{name} of the {KIND} has no meaning here: {row.words}")
        if row.state == HONOURED and (flag := _flag(name, value, said)) is not None:
            words[row.flag] = _checked(parser, row, flag)
    return [f"{flag}={value}" for flag, value in words.items()]


def _fields(section: Mapping[str, Any], known: Collection[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Those that are set, by their whole names. Raises ValueError for one that Kubernetes does not have."""
    for key, value in section.items():
        name = f"{path}{key}"
        if name in known:
            if value is not None:
                yield name, value
        elif any(field.startswith(f"{name}.") for field in known):
            if not isinstance(value, dict | None):
                raise ValueError(f"{name}: must be a mapping")
            yield from _fields(value or {}, known, f"{name}.")
        else:
            raise ValueError(f"{path.removesuffix('.')}: unknown field {key!r}".removeprefix(": "))


def _way_out(row: Row) -> str:
    return f"leave it out, or say {' or '.join(json.dumps(value) for value in row.values)}" if row.values else "leave it out"


def _flag(name: str, value: Any, said: Mapping[str, Any]) -> str | None:
    """The value of a field's flag; None: it says what is so anyway. Raises ValueError."""
    if value == "" or (name in ZERO_IS_DEFAULT and value in EMPTY):
        return None
    if (special := SPECIAL.get(name)) is not None:
        return special(name, value, said)
    wanted, words = (dict, "a mapping") if name in MAPPINGS else (list, "a list") if name in LISTS else SCALAR
    if not isinstance(value, wanted):
        raise ValueError(f"{name}: must be {words}")
    if isinstance(value, dict):
        sign = "<" if name in BELOW else "="
        return ",".join(f"{key}{sign}{_word(name, found)}" for key, found in value.items())
    if isinstance(value, list):
        return ",".join(_word(name, found) for found in value)
    return _word(name, value)


def _word(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int):
        raise ValueError(f"{name}: {json.dumps(value)} is neither text nor a number")
    return str(value)


def _checked(parser: argparse.ArgumentParser, row: Row, value: str) -> str:
    """Raises ValueError, naming the field, for what its flag would refuse, and where there is no such flag."""
    action = next((found for found in parser._actions if row.flag in found.option_strings), None)
    if action is None:
        raise ValueError(f"{row.field}: whoever starts this kubelet says that itself: leave it out")
    try:
        parsed = action.type(value) if callable(action.type) else value
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise ValueError(f"{row.field}: {error}") from error
    if action.choices is not None and parsed not in action.choices:
        raise ValueError(f"{row.field}: {value!r} is none of {', '.join(map(str, action.choices))}")
    return value


def _listen(name: str, value: Any, said: Mapping[str, Any]) -> str:
    return f"{_word(name, said.get('address') or '0.0.0.0')}:{_word(name, said.get('port') or 10250)}"


def _name_server(name: str, value: Any, said: Mapping[str, Any]) -> str:
    if not isinstance(value, list) or len(value) > 1:
        raise ValueError(f"{name}: must be a list of one address")
    return _word(name, value[0]) if value else ""


def _hard(name: str, value: Any, said: Mapping[str, Any]) -> str | None:
    """With the defaults of signals that are not named, where that is asked for."""
    asked, merge = said.get("evictionHard"), said.get("mergeDefaultEvictionSettings", False)
    if not isinstance(asked, dict | None) or not isinstance(merge, bool):
        raise ValueError(f"{name}: must be {'a mapping' if name == 'evictionHard' else 'true or false'}")
    if asked is None:
        return None
    # A mapping of nothing is one, by which no signal has a threshold.
    defaults = dict(part.split("<") for part in DEFAULT_HARD.split(",")) if merge else {}
    return ",".join(f"{signal}<{_word(name, amount)}" for signal, amount in {**defaults, **asked}.items())


def _priorities(name: str, value: Any, said: Mapping[str, Any]) -> str:
    items = _sections(name, value, ("priority", "shutdownGracePeriodSeconds"))
    return ",".join(f"{_word(name, item.get('priority', 0))}={_word(name, item.get('shutdownGracePeriodSeconds', 0))}s" for item in items)


def _taints(name: str, value: Any, said: Mapping[str, Any]) -> str:
    items = _sections(name, value, ("key", "value", "effect", "timeAdded"))
    return ",".join(f"{item.get('key', '')}={item.get('value', '')}:{item.get('effect', '')}" for item in items)


def _sections(name: str, value: Any, known: Collection[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ValueError(f"{name}: must be a list")
    for at, item in enumerate(value):
        refuse_others(item, f"{name}[{at}]", *known)
    return value


def _lower(name: str, value: Any, said: Mapping[str, Any]) -> str:
    return _word(name, value).lower()


SPECIAL: Mapping[str, Callable[[str, Any, Mapping[str, Any]], str | None]] = {
    "address": _listen,
    "port": _listen,
    "clusterDNS": _name_server,
    "evictionHard": _hard,
    "mergeDefaultEvictionSettings": _hard,
    "shutdownGracePeriodByPodPriority": _priorities,
    "registerWithTaints": _taints,
    "cpuManagerPolicy": _lower,
}
