"""Layers are recognized in what engines save, and left out for those that hold them."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass, field

import pytest

from services.compose.image_archive import Layers, Recognizer, chains, distribute, held_layers

BASE, CERTIFICATES = (
    "sha256:4a1756ce1578dce76ee56b1df7ad736ba03bbd95c3b503c05f551ba3ce2c65d1",
    "sha256:cd881b9e585355c9bea75b77a163428e0a5b8df125c8142cf216c9a812920298",
)
# As an engine 20.10 wrote them for an image with these layers.
BASE_FOLDER = "c3052aef3bd0b94e078b0febb6b6ba0809e6725259058eb22b8d9b1d7a96bfe4"
CERTIFICATES_FOLDER = "1ca9bbe3e4fbc5bf33b6d31e9c90bb062d50f248ec338692a5e72cbd62ac1f84"
EMPTY_CONFIG = (
    '"created":"1970-01-01T00:00:00Z","container_config":{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,'
    '"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"",'
    '"Entrypoint":null,"OnBuild":null,"Labels":null},"os":"linux"}'
)
BASE_JSON = f'{{"id":"{BASE_FOLDER}",{EMPTY_CONFIG}'
CERTIFICATES_JSON = f'{{"id":"{CERTIFICATES_FOLDER}","parent":"{BASE_FOLDER}",{EMPTY_CONFIG}'
A, B, C = ("sha256:" + letter * 64 for letter in "abc")


@dataclass
class Pipe:
    held: frozenset[str] = frozenset()
    data: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes, /) -> None:
        self.data += data

    def files(self) -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(self.data)) as archive:
            return {entry.name: (archive.extractfile(entry) or io.BytesIO()).read() for entry in archive if entry.isreg()}


def archive(files: dict[str, bytes], links: dict[str, str] | None = None) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    made.seek(0)
    return made


def test_an_older_engines_layer_is_known_by_its_folders_hash() -> None:
    found = Recognizer([(BASE, CERTIFICATES)])
    assert found.layer(f"{BASE_FOLDER}/layer.tar") == ""
    found.learn(f"{BASE_FOLDER}/json", BASE_JSON.encode())
    found.learn(f"{CERTIFICATES_FOLDER}/json", CERTIFICATES_JSON.encode())
    assert found.layer(f"{BASE_FOLDER}/layer.tar") == BASE
    assert found.layer(f"{CERTIFICATES_FOLDER}/layer.tar") == CERTIFICATES
    assert found.layer(f"{BASE_FOLDER}/json") == ""


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", BASE_JSON.replace("1970", "1971").encode()])
def test_what_is_not_as_expected_is_no_known_layer(content: bytes) -> None:
    found = Recognizer([(BASE, CERTIFICATES)])
    found.learn(f"{BASE_FOLDER}/json", content)
    assert found.layer(f"{BASE_FOLDER}/layer.tar") == ""


def test_the_chain_of_a_layer_is_that_of_the_image_specification() -> None:
    # sha256("sha256:aaa… sha256:bbb…")
    assert list(chains((A, B))) == [A, "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c"]


@pytest.mark.parametrize(
    ("images", "present", "held"),
    [
        ([(A, B)], [], set()),
        ([(A, B)], [(A,)], {A}),
        ([(A, B, C)], [(A, B), (C,)], {A, B}),
        # The same content upon another layer is another layer.
        ([(A, B)], [(C, B)], set()),
        # Its file serves twice in the archive, and is needed once.
        ([(A, B, A)], [(A, B)], {B}),
        ([(A, B), (B,)], [(A, B)], {A}),
    ],
)
def test_a_layer_is_held_where_it_lies_on_the_same_layers(images: list[Layers], present: list[Layers], held: set[str]) -> None:
    assert held_layers(images, present) == held


def test_each_sink_gets_all_but_what_it_holds() -> None:
    big = bytes(range(256)) * 9000
    files = {
        f"{BASE_FOLDER}/json": BASE_JSON.encode(),
        f"{BASE_FOLDER}/layer.tar": big,
        f"{CERTIFICATES_FOLDER}/json": CERTIFICATES_JSON.encode(),
        f"{CERTIFICATES_FOLDER}/layer.tar": b"certificates",
        f"blobs/sha256/{BASE.removeprefix('sha256:')}": b"a newer engine's",
        "manifest.json": json.dumps([]).encode(),
    }
    everything, rest = Pipe(), Pipe(frozenset({BASE}))
    done = list(distribute(archive(files, {"x/layer.tar": "../y/layer.tar"}), [(BASE, CERTIFICATES)], [everything, rest]))
    assert done[-1] == sum(len(content) for content in files.values())
    assert done == sorted(done) and len(done) > len(files)
    assert everything.files() == files
    assert b"../y/layer.tar" in everything.data
    left_out = {f"{BASE_FOLDER}/layer.tar", f"blobs/sha256/{BASE.removeprefix('sha256:')}"}
    assert rest.files() == {name: content for name, content in files.items() if name not in left_out}


def test_an_archive_that_ends_early_is_an_error() -> None:
    whole = archive({"manifest.json": bytes(5000)}).getvalue()
    with pytest.raises((OSError, tarfile.TarError)):
        list(distribute(io.BytesIO(whole[:3000]), [], [Pipe()]))
