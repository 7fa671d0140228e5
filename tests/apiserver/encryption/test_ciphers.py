"""One key makes values and opens them, byte for byte as kube-apiserver does, and opens nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.apiserver.encryption.ciphers import AesCbc, AesGcm, SecretBox
from services.apiserver.encryption.transformer import CannotOpen, Cipher

CIPHERS: tuple[type[Cipher], ...] = (AesGcm, AesCbc, SecretBox)
PLACE = b"/registry/secrets/default/a"
# NaCl's own vector of secretbox.
NACL_KEY = "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"
NACL_NONCE = "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37"
NACL_PLAIN = (
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb310e3b"
    "e8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
)
NACL_SEALED = (
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2"
    "c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622"
    "a43d14a6599b1f654cb45a74e355a5"
)


def test_secretbox_is_nacls() -> None:
    sealed = bytes.fromhex(NACL_NONCE + NACL_SEALED)
    assert SecretBox(bytes.fromhex(NACL_KEY)).open(sealed, PLACE) == bytes.fromhex(NACL_PLAIN)


def test_gcm_is_nists() -> None:
    sealed = bytes.fromhex("000000000000000000000000" + "0388dace60b6a392f328c2b971b2fe78" + "ab6e47d42cec13bdf53a67b21257bddf")
    assert AesGcm(bytes(16)).open(sealed, b"") == bytes(16)


def test_cbc_is_nists() -> None:
    key, vector = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes(range(16))
    # The text's own block as the standard has it, and that of the padding.
    sealed = vector + bytes.fromhex("7649abac8119b246cee98e9b12e9197d" + "8964e0b149c10b7b682e6e39aaeb731c")
    assert AesCbc(key).open(sealed, PLACE) == bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")


@pytest.mark.parametrize("cipher", CIPHERS)
@given(plain=st.binary(max_size=200), key=st.binary(min_size=32, max_size=32))
def test_what_a_key_seals_it_opens_and_never_the_same_twice(cipher: type[Cipher], plain: bytes, key: bytes) -> None:
    made = cipher(key)
    one, other = made.seal(plain, PLACE), made.seal(plain, PLACE)
    assert made.open(one, PLACE) == made.open(other, PLACE) == plain
    assert one != other


@pytest.mark.parametrize("cipher", [AesGcm, SecretBox])
@given(at=st.integers(0, 500), bit=st.integers(0, 7))
def test_a_value_that_was_changed_is_not_opened(cipher: type[Cipher], at: int, bit: int) -> None:
    made = cipher(b"k" * 32)
    sealed = bytearray(made.seal(b"a secret of some length", PLACE))
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(CannotOpen):
        made.open(bytes(sealed), PLACE)


@pytest.mark.parametrize("cipher", CIPHERS)
@given(length=st.integers(0, 60))
def test_a_value_that_is_cut_short_is_not_opened(cipher: type[Cipher], length: int) -> None:
    made = cipher(b"k" * 32)
    sealed = made.seal(b"a secret of some length, of more than two blocks", PLACE)
    if cipher is AesCbc and length >= 32 and length % 16 == 0:
        return  # nothing tells these, but for the padding
    with pytest.raises(CannotOpen):
        made.open(sealed[:length], PLACE)


def test_a_value_cannot_be_put_in_anothers_place() -> None:
    made = AesGcm(b"k" * 32)
    with pytest.raises(CannotOpen):
        made.open(made.seal(b"a", PLACE), b"/registry/secrets/default/b")
