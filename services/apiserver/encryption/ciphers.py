"""How one key makes and opens a value, byte for byte as kube-apiserver does.

The place is the key in the store under which a value lies: AES-GCM binds the value to it, so that one cannot be put where another lay.
"""

from __future__ import annotations

import os
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from services.apiserver.encryption.transformer import CannotOpen

AES_KEY_BYTES = (16, 24, 32)


class AesGcm:
    """12 bytes of nonce, then text and tag. Of one key no more than 2³² values should be made: nonces are by chance."""

    key_bytes: ClassVar[tuple[int, ...]] = AES_KEY_BYTES
    NONCE_BYTES = 12

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, plain: bytes, place: bytes) -> bytes:
        nonce = os.urandom(self.NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        try:
            return self._aead.decrypt(sealed[: self.NONCE_BYTES], sealed[self.NONCE_BYTES :], place)
        except (InvalidTag, ValueError) as error:
            raise CannotOpen("it was not made with this key for this place, or has been changed") from error


class AesCbc:
    """16 bytes of initial vector, then the text, padded as PKCS#7. Nothing tells a value that was changed."""

    key_bytes: ClassVar[tuple[int, ...]] = AES_KEY_BYTES
    BLOCK_BYTES = 16

    def __init__(self, key: bytes) -> None:
        self._key = AES(key)

    def seal(self, plain: bytes, place: bytes) -> bytes:
        vector, padder = os.urandom(self.BLOCK_BYTES), padding.PKCS7(AES.block_size).padder()
        encryptor = BlockCipher(self._key, CBC(vector)).encryptor()
        return vector + encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()

    def open(self, sealed: bytes, place: bytes) -> bytes:
        vector, text = sealed[: self.BLOCK_BYTES], sealed[self.BLOCK_BYTES :]
        try:
            decryptor, unpadder = BlockCipher(self._key, CBC(vector)).decryptor(), padding.PKCS7(AES.block_size).unpadder()
            return unpadder.update(decryptor.update(text) + decryptor.finalize()) + unpadder.finalize()
        except ValueError as error:
            raise CannotOpen("it was not made with this key, or has been changed") from error


class SecretBox:
    """XSalsa20 and Poly1305 as NaCl has them: 24 bytes of nonce, then tag and text."""

    key_bytes: ClassVar[tuple[int, ...]] = (32,)

    def __init__(self, key: bytes) -> None:
        # Only loaded where somebody has such a key.
        from nacl.secret import SecretBox as Box

        self._box = Box(key)

    def seal(self, plain: bytes, place: bytes) -> bytes:
        return bytes(self._box.encrypt(plain))

    def open(self, sealed: bytes, place: bytes) -> bytes:
        from nacl.exceptions import CryptoError

        try:
            return self._box.decrypt(sealed)
        except (CryptoError, ValueError) as error:
            raise CannotOpen("it was not made with this key, or has been changed") from error
