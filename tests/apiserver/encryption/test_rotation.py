"""The steps by which a key is replaced, as changes of the file; and a file that is replaced under a running server."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.machinery.catalog import BUILT_IN
from services.apiserver.encryption.configuration import parse_encryption, read_encryption
from services.apiserver.encryption.reloading import EncryptionFile
from services.apiserver.encryption.rotation import Step, added, finished, next_step, promoted
from services.apiserver.storage.values import Values

OLD, NEW = base64.b64encode(b"o" * 32).decode(), b"n" * 32


def document(*providers: Any) -> Any:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [
            {"resources": ["configmaps"], "providers": [{"identity": {}}]},
            {"resources": ["secrets"], "providers": list(providers)},
        ],
    }


def cipher(kind: str, *names: str) -> Any:
    return {kind: {"keys": [{"name": name, "secret": OLD} for name in names]}}


def order(found: Any) -> list[str]:
    """The names of all keys as they are tried, and where nothing is encrypted."""
    return [
        key["name"] if key else "identity"
        for way in found["resources"][1]["providers"]
        for kind, given in way.items()
        for key in (given["keys"] if kind != "identity" else [None])
    ]


@pytest.mark.parametrize(
    ("providers", "behind", "first"),
    [
        ([cipher("secretbox", "a")], ["a", "new"], ["new", "a"]),
        ([cipher("secretbox", "a", "b"), {"identity": {}}], ["a", "new", "b", "identity"], ["new", "a", "b", "identity"]),
        ([cipher("aesgcm", "a"), cipher("secretbox", "b")], ["a", "new", "b"], ["new", "a", "b"]),
        ([{"identity": {}}], ["identity", "new"], ["new", "identity"]),
        ([{"identity": {}}, cipher("aescbc", "a")], ["identity", "new", "a"], ["new", "identity", "a"]),
    ],
)
def test_a_key_is_known_before_it_is_used_and_used_before_the_others_go(providers: Any, behind: list[str], first: list[str]) -> None:
    found = document(*providers)
    before = yaml.safe_dump(found)
    assert next_step(found, "secrets", "new") is Step.ADD
    second = added(found, "secrets", "new", NEW)
    assert order(second) == behind
    assert next_step(second, "secrets", "new") is Step.PROMOTE
    third = promoted(second, "secrets", "new")
    assert order(third) == first
    assert next_step(third, "secrets", "new") is Step.REWRITE
    last = finished(third, "secrets", "new")
    assert order(last) == ["new"]
    assert next_step(last, "secrets", "new") is Step.DONE
    for step in (second, third, last):
        parse_encryption(yaml.safe_dump(step).encode())
        assert step["resources"][0] == found["resources"][0]
    assert yaml.safe_dump(found) == before


def write(file: Path, found: Any) -> None:
    aside = file.with_name("aside")
    aside.write_text(yaml.safe_dump(found))
    aside.chmod(0o600)
    os.replace(aside, file)  # noqa: PTH105


def test_a_file_is_taken_over_and_a_broken_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "encryption.yaml"
    write(file, document(cipher("secretbox", "a")))
    values = Values(encryption=read_encryption(file))
    following = EncryptionFile(file, values)
    resource = next(resource for resource in BUILT_IN if resource.plural == "secrets")
    assert values.value(resource, "place", b"").startswith(b"k8s:enc:secretbox:v1:a:")
    write(file, document(cipher("secretbox", "b", "a")))
    following.look()
    assert values.value(resource, "place", b"").startswith(b"k8s:enc:secretbox:v1:b:")
    file.write_text("nonsense")
    following.look()
    assert values.value(resource, "place", b"").startswith(b"k8s:enc:secretbox:v1:b:")
