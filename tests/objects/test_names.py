"""Generated names and template hashes."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.validation import dns1123_label
from knarr.objects.copies import copy_of
from knarr.objects.hashes import canonical, template_hash
from knarr.objects.names import ALPHABET, encoded, generated, new_uid

HASH = "pod-template-hash"


@given(st.from_regex(r"[a-z]([a-z0-9-]{0,80}[a-z0-9])?-?", fullmatch=True), st.integers(0, 2**32))
def test_a_generated_name_is_a_label_that_begins_with_its_base(base: str, seed: int) -> None:
    name = generated(base, random.Random(seed))
    assert dns1123_label(name) == []
    assert name[:-5] == base[:58]
    assert set(name[-5:]) <= set(ALPHABET)


def test_names_differ() -> None:
    assert len({generated("web-") for _ in range(100)}) > 95


@given(st.integers(0, 2**32))
def test_a_uid_is_a_random_uuid(seed: int) -> None:
    assert new_uid(random.Random(seed)) == str(uuid.UUID(int=random.Random(seed).getrandbits(128), version=4))


@pytest.mark.parametrize(("number", "text"), [(0, "4"), (1234567890, "56789bcdf4")])
def test_numbers_in_the_alphabet(number: int, text: str) -> None:
    """As Kubernetes writes a hash: each decimal digit by its character code."""
    assert encoded(number) == text


def template() -> core.PodTemplateSpec:
    made = core.PodTemplateSpec()
    made.metadata.labels["app"] = "web"
    made.spec.containers.add(name="web", image="nginx")
    return made


def test_a_hash_is_that_of_the_meaning() -> None:
    one, other = template(), template()
    other.metadata.labels[HASH] = "abc"
    other.metadata.creation_timestamp.seconds = 5
    assert canonical(one, HASH) == canonical(other, HASH)
    assert template_hash(one, HASH, 0) == template_hash(other, HASH, 0)
    assert template_hash(one, HASH, 0) != template_hash(one, HASH, 1)
    assert canonical(one, HASH) != canonical(other, "controller-revision-hash")
    changed = template()
    changed.spec.containers[0].image = "nginx:2"
    assert template_hash(changed, HASH, 0) != template_hash(one, HASH, 0)


def test_a_hash_leaves_the_template_as_it_is() -> None:
    made = template()
    made.metadata.labels[HASH] = "abc"
    before = copy_of(made)
    template_hash(made, HASH, 0)
    assert made == before


def test_a_copy_is_the_callers_own() -> None:
    made = template()
    copy = copy_of(made)
    copy.spec.containers[0].image = "other"
    assert made == template()
