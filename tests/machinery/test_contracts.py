"""Generated code is fresh, and the contracts keep buf's rules and layout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.schema import descriptor_of, json_fields, map_type_of

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).parent / "buf"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_generated_code_is_fresh() -> None:
    done = run(sys.executable, "-m", "tools.generate", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("lint", "proto"),
        ("format", "--diff", "--exit-code", "proto"),
        # Nothing renumbered, retyped or renamed: stored objects and clients of the kept contracts are still understood.
        ("breaking", "proto", "--against", "tools/schema/contracts.binpb.gz"),
    ],
    ids=lambda value: value[0],
)
def test_buf_finds_nothing(arguments: tuple[str, ...]) -> None:
    done = run(BUF, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_contracts_say_what_a_string_may_be_and_who_owns_a_map() -> None:
    spec, port = json_fields(descriptor_of(core.PodSpec)), json_fields(descriptor_of(core.ContainerPort))
    assert port["protocol"][1].enum_values == ("TCP", "UDP", "SCTP")
    assert spec["schedulerName"][1].enum_values == ()
    assert (spec["nodeSelector"][1].map_type, map_type_of(descriptor_of(core.PodSpec))) == ("atomic", "")
    assert map_type_of(descriptor_of(core.SecretKeySelector)) == "atomic"
