"""The file of an EncryptionConfiguration: what it says of a resource, and what is told of one that is no good."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.service.configuration_file import MOST_BYTES
from knarr.service.errors import CommandError
from services.apiserver.encryption.configuration import parse_encryption, read_encryption

SECRET = base64.b64encode(b"k" * 32).decode()
KEYS = {"keys": [{"name": "one", "secret": SECRET}]}
HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
PLACE = "/registry/secrets/default/a"
SECRETS, CONFIG_MAPS, DEPLOYMENTS = (version_of(found).resource for found in (core.Secret, core.ConfigMap, apps.Deployment))


def document(*entries: dict[str, Any]) -> bytes:
    return yaml.safe_dump({**HEAD, "resources": list(entries)}).encode()


def entry(*providers: Any, resources: tuple[str, ...] = ("secrets",)) -> dict[str, Any]:
    return {"resources": list(resources), "providers": list(providers)}


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("secrets", [SECRETS]),
        ("deployments.apps", [DEPLOYMENTS]),
        ("*.", [SECRETS, CONFIG_MAPS]),
        ("*.apps", [DEPLOYMENTS]),
        ("*.*", [SECRETS, CONFIG_MAPS, DEPLOYMENTS]),
        ("secrets.apps", []),
    ],
)
def test_a_resource_is_found_as_it_is_spelled(spelled: str, meant: list[Any]) -> None:
    found = parse_encryption(document(entry({"aesgcm": KEYS}, resources=(spelled,))))
    assert [resource for resource in (SECRETS, CONFIG_MAPS, DEPLOYMENTS) if found.of(resource) is not None] == meant


def test_the_first_entry_that_names_it_holds() -> None:
    found = parse_encryption(document(entry({"secretbox": KEYS}), entry({"identity": {}}, resources=("*.*",))))
    secrets, maps = found.of(SECRETS), found.of(CONFIG_MAPS)
    assert secrets is not None and secrets.make(b"a", PLACE).startswith(b"k8s:enc:secretbox:v1:one:")
    assert maps is not None and maps.make(b"a", PLACE) == b"a"


@pytest.mark.parametrize("provider", ["aesgcm", "aescbc", "secretbox"])
def test_a_key_is_replaced_in_three_steps(provider: str) -> None:
    """The new key can be read everywhere before it is written anywhere; the old one goes when nothing is written with it any more."""
    old, new = {"name": "old", "secret": SECRET}, {"name": "new", "secret": base64.b64encode(b"n" * 32).decode()}

    def made(*providers: Any) -> Any:
        return parse_encryption(document(entry(*providers))).of(SECRETS)

    before = made({provider: {"keys": [old]}}, {"identity": {}})
    known = made({provider: {"keys": [old, new]}}, {"identity": {}})
    used = made({provider: {"keys": [new, old]}}, {"identity": {}})
    after = made({provider: {"keys": [new]}})
    value = before.make(b"a", PLACE)
    assert known.open(value, PLACE) == used.open(value, PLACE) == b"a"
    assert (known.is_newest(value), used.is_newest(value)) == (True, False)
    newer = used.make(b"a", PLACE)
    assert known.open(newer, PLACE) == after.open(newer, PLACE) == b"a"
    assert used.is_newest(newer) and used.open(b"plain", PLACE) == b"plain" and not used.is_newest(b"plain")
    with pytest.raises(ValueError, match=rf"it is encrypted \(k8s:enc:{provider}:v1:old\), for which the .* has no provider and key"):
        after.open(value, PLACE)
    with pytest.raises(ValueError, match="it is not encrypted, for which the EncryptionConfiguration has no provider"):
        after.open(b"plain", PLACE)


def test_two_keys_of_one_name_are_both_tried() -> None:
    other = {"keys": [{"name": "one", "secret": base64.b64encode(b"o" * 32).decode()}]}
    found = parse_encryption(document(entry({"aesgcm": KEYS}, {"aesgcm": other}))).of(SECRETS)
    alone = parse_encryption(document(entry({"aesgcm": other}))).of(SECRETS)
    assert found is not None and alone is not None
    assert found.open(alone.make(b"a", PLACE), PLACE) == b"a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "error converting YAML to JSON"),
        (b"\xff", "invalid UTF-8"),
        (b"[]", "a document must be an object"),
        (b"", "it must be one EncryptionConfiguration of apiserver.config.k8s.io/v1"),
        (yaml.safe_dump({**HEAD, "kind": "Pod"}).encode(), "it must be one EncryptionConfiguration"),
        (document(entry({"identity": {}})) + b"---\n" + document(entry({"identity": {}})), "it must be one EncryptionConfiguration"),
        (yaml.safe_dump({**HEAD, "resources": [], "resource": []}).encode(), "unknown field 'resource'"),
        (document(), "^resources: must be a list of one at least"),
        (document({"resources": ["secrets"]}), r"^resources\[0\].providers: must be a list of one at least"),
        (document(entry({"identity": {}}, resources=("*",))), r"'\*' names no resource"),
        (document(entry({"identity": {}}, resources=("",))), "'' names no resource"),
        (document(entry({"identity": {}, "aesgcm": KEYS})), "must be one of aesgcm, aescbc, secretbox or identity"),
        (document(entry({"kms": {"name": "k"}})), "there is no provider 'kms' here"),
        (document(entry({"aesgcm": {"keys": []}})), r"providers\[0\].aesgcm.keys: must be a list"),
        (document(entry({"aesgcm": {"keys": [{"name": "a:b", "secret": SECRET}]}})), "must be a text without a colon"),
        (document(entry({"aesgcm": {"keys": KEYS["keys"] * 2}})), r"keys\[1\].name: one is there already"),
        (document(entry({"secretbox": {"keys": [{"name": "a", "secret": "c2hvcnQ="}]}})), "must be 32 bytes in base64, and has 5"),
        (document(entry({"aesgcm": {"keys": [{"name": "a", "secret": "?"}]}})), r"keys\[0\].secret: must be base64"),
        (document(entry({"aesgcm": {"keys": [{"name": "a"}]}})), "must be 16 or 24 or 32 bytes in base64, and has 0"),
        (document(entry({"aesgcm": {"keys": ["a"]}})), "must be a mapping"),
    ],
)
def test_what_is_no_good_is_told_with_its_field(text: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_encryption(text)


def test_the_words_have_no_secret_in_them() -> None:
    secret = base64.b64encode(b"hidden words").decode()
    with pytest.raises(ValueError, match="must be 32 bytes") as caught:
        parse_encryption(document(entry({"secretbox": {"keys": [{"name": "a", "secret": secret}]}})))
    assert secret not in str(caught.value) and "hidden" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "encryption.yaml"
    file.write_bytes(document(entry({"aesgcm": KEYS})))
    file.chmod(mode)
    with pytest.raises(CommandError, match=f"may be used by others than its owner .mode {mode:04o}.: chmod 600 {file}"):
        read_encryption(file)
    file.chmod(0o600)
    assert read_encryption(file).of(SECRETS) is not None


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        read_encryption(tmp_path / "nope")
    large = tmp_path / "large"
    large.write_bytes(b"#" * (MOST_BYTES + 1))
    large.chmod(0o600)
    with pytest.raises(CommandError, match="is larger than 1024 KiB"):
        read_encryption(large)
