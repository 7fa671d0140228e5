"""The systemd unit by which a cluster starts with the machine, as text. Pure; systemd.service(5), systemd.syntax(7).

`knarr up` leaves the cluster's process in the background and ends when that is ready, which is what systemd calls forking: it looks after
the process that is left, and has `knarr up` go on with a cluster that crashed. `knarr down` takes it away. The unit does nothing where the
cluster was deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# As long as a cluster may take to become ready, or to end, on a machine that is just starting many things.
START_SECONDS, STOP_SECONDS = 600, 180
# How long after a failure it is tried again, and how often in how long a time until a person has to look.
RESTART_SECONDS, TRIES, TRIES_SECONDS = 5, 10, 600
# The engine's unit, by the runtime that needs it.
ENGINES = {"docker": "docker.service", "containerd": "containerd.service"}


@dataclass(frozen=True, slots=True)
class Boot:
    """What starts: ``command`` is what begins each call of `knarr`, ``place`` the options that say which cluster; ``settings`` the file
    without which there is none. ``system``: for the machine, else for a person who is logged in, or lingers."""

    name: str
    command: Sequence[str]
    place: Sequence[str]
    settings: Path
    runtime: str
    environment: Mapping[str, str]
    system: bool


def unit_name(name: str, cluster_id: str) -> str:
    """Of a named cluster by that, of another by what tells it from all others."""
    return f"knarr-{name or cluster_id}.service"


def unit_text(boot: Boot) -> str:
    return "\n".join([*_unit(boot), "", *_service(boot), "", *_install(boot), ""])


def _unit(boot: Boot) -> Iterator[str]:
    yield "[Unit]"
    yield f"Description=Knarr cluster {_plain(boot.name)}"
    yield condition(boot)
    if boot.system:
        after = ["network-online.target", *filter(None, [ENGINES.get(boot.runtime)])]
        yield f"Wants={' '.join(after)}"
        yield f"After={' '.join(after)}"
    yield f"StartLimitIntervalSec={TRIES_SECONDS}"
    yield f"StartLimitBurst={TRIES}"


def condition(boot: Boot) -> str:
    """The line that says whose unit it is: without its settings there is no such cluster."""
    return f"ConditionPathExists={_plain(str(boot.settings))}"


def _service(boot: Boot) -> Iterator[str]:
    yield "[Service]"
    yield "Type=forking"
    for name, value in boot.environment.items():
        yield f"Environment={quoted(f'{name}={value}', command=False)}"
    yield f"ExecStart={_line([*boot.command, 'up', *boot.place])}"
    yield f"ExecStop={_line([*boot.command, 'down', *boot.place])}"
    yield "Restart=on-failure"
    yield f"RestartSec={RESTART_SECONDS}"
    yield f"TimeoutStartSec={START_SECONDS}"
    yield f"TimeoutStopSec={STOP_SECONDS}"


def _install(boot: Boot) -> Iterator[str]:
    yield "[Install]"
    yield f"WantedBy={'multi-user.target' if boot.system else 'default.target'}"


def _line(words: Sequence[str]) -> str:
    return " ".join(quoted(word, command=True) for word in words)


def quoted(text: str, *, command: bool) -> str:
    """One word, whatever is in it. In a ``command`` a dollar begins a variable; a percent sign begins something everywhere."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
    return f'"{text.replace("$", "$$") if command else text}"'


def _plain(text: str) -> str:
    """Of what stands for itself up to the end of the line."""
    return text.replace("\\", "\\\\").replace("\n", " ").replace("%", "%%")
