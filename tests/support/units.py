"""Unit files and a page's commands, as far as tests need to do what they say."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster_client import ROOT

UNITS = ROOT / "deploy/systemd"
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unit:
    """A service unit: its command as written, the files it is given by LoadCredential, and the capabilities it is left."""

    name: str
    exec_start: str
    credentials: dict[str, Path]
    environment_file: Path
    capabilities: tuple[str, ...]

    @classmethod
    def read(cls, name: str) -> Unit:
        lines = [line.partition("=")[::2] for line in (UNITS / f"{name}.service").read_text().splitlines() if "=" in line]
        found: dict[str, list[str]] = {}
        for key, value in lines:
            found.setdefault(key, []).append(value)
        credentials = dict(entry.split(":", 1) for entry in found.get("LoadCredential", []))
        return cls(
            name,
            found["ExecStart"][-1],
            {key: Path(path) for key, path in credentials.items()},
            Path(found["EnvironmentFile"][-1]),
            tuple(found["CapabilityBoundingSet"][-1].split()),
        )

    def command(self, environment: Mapping[str, str]) -> list[str]:
        """The words of ExecStart: `${NAME}` is replaced within a word, `$NAME` as a word becomes as many as it has; unset is empty."""
        words: list[str] = []
        for word in shlex.split(self.exec_start):
            if re.fullmatch(r"\$\w+", word):
                words += environment.get(word[1:], "").split()
            else:
                words.append(re.sub(r"\$\{(\w+)\}", lambda match: environment.get(match[1], ""), word))
        return words

    def confined(self, command: list[str]) -> list[str]:
        """The same command with no capability but the unit's, and no way to more."""
        kept = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in self.capabilities)
        return ["setpriv", "--no-new-privs", f"--bounding-set=-all{kept}", "--inh-caps=-all", "--", *command]


def drop_in(name: str) -> tuple[dict[str, Path], dict[str, str]]:
    """What a file beside a unit of others adds to it: its files of LoadCredential, and variables."""
    lines = [line.partition("=")[::2] for line in (UNITS / f"{name}.conf").read_text().splitlines() if not line.startswith("#")]
    credentials = dict(value.split(":", 1) for key, value in lines if key == "LoadCredential")
    variables = dict(value.split("=", 1) for key, value in lines if key == "Environment")
    return {name: Path(path) for name, path in credentials.items()}, variables


def shell_lines(page: Path) -> Iterator[str]:
    """The commands of a page's `sh` blocks without their comments, in order."""
    for block in _BLOCK.findall(page.read_text()):
        for line in block.splitlines():
            command = re.sub(r"\s+# .*$", "", line)
            if command and not command.startswith("#"):
                yield command


def environment_files(page: Path) -> dict[str, dict[str, str]]:
    """The environment files that a page shows, by the words after `# FILE on` in their first line."""
    found = {}
    for block in _BLOCK.findall(page.read_text()):
        first, *rest = block.splitlines()
        if match := re.fullmatch(r"# \S+ on (.*)", first):
            found[match[1]] = dict(line.split("=", 1) for line in rest)
    return found


def write_environment(path: Path, variables: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))


def read_environment(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))


def service_environment(unit: Unit, file: Path, credentials: Path) -> dict[str, str]:
    """What the service manager gives a unit's process, the machine's PATH added."""
    return {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(credentials), **read_environment(file)}
