"""Seal what must not lie in the clear: only who presents the same credentials again can open it.

AES-256-GCM (NIST SP 800-38D) under a key that HKDF (RFC 5869) derives from the credentials, one key for each context.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"fetchwork:v1:idempotency-answer:"
KEY_BYTES = 32
NONCE_BYTES = 12


def seal(plain: bytes, *, bearer: bytes, context: bytes) -> bytes:
    """The sealed bytes, which only `unseal` with the same credentials and context opens."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(bearer, context).encrypt(nonce, plain, None)


def unseal(sealed: bytes, *, bearer: bytes, context: bytes) -> bytes | None:
    """What was sealed; None when the credentials or the context are others, or the bytes were changed."""
    try:
        return _cipher(bearer, context).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except InvalidTag:
        return None


def _cipher(bearer: bytes, context: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE + context).derive(bearer))
