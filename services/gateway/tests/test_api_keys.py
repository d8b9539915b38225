"""The form of keys: made ones are read back, whatever differs is refused before anybody is asked, and scanners find them."""

import re
import zlib
from pathlib import Path

import pytest
from common.contracts.keys import KEY_FORM
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.api_keys import BASE62, SECRET_BYTES, make_key, new_key_id, new_secret, read_key

IDS = st.text(BASE62, min_size=12, max_size=12)
SECRETS = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)
ENVIRONMENTS = st.from_regex(r"\A[a-z0-9]{1,16}\Z")


@given(IDS, SECRETS, ENVIRONMENTS)
def test_what_is_made_is_read_back(key_id: str, secret: bytes, environment: str) -> None:
    key = make_key(key_id, secret, environment=environment)
    assert read_key(key.text) == key and key.id == key_id
    assert re.fullmatch(KEY_FORM, key.text) and len(key.text) == len(environment) + 68
    assert key.text not in repr(key)


@given(IDS, SECRETS, st.integers(0, 71), st.characters(codec="ascii"))
def test_one_character_that_is_wrong_is_noticed(key_id: str, secret: bytes, place: int, other: str) -> None:
    text = make_key(key_id, secret, environment="live").text
    changed = text[:place] + other + text[place + 1 :]
    assert (read_key(changed) is None) == (changed != text)


@given(st.text())
def test_anything_else_is_no_key(text: str) -> None:
    assert read_key(text) is None


@given(IDS, SECRETS)
def test_nothing_may_stand_around_a_key(key_id: str, secret: bytes) -> None:
    text = make_key(key_id, secret, environment="live").text
    assert [read_key(around) for around in (f"{text}\n", f" {text}", f"x{text}", text[:-1], text + "0", "")] == [None] * 6


def test_the_form_is_as_documented() -> None:
    """A key that was made by other means: the prefix, base64url without padding, and the CRC of RFC 1952 in base62."""
    text = "ftch_live_AAAAAAAAAAAA_" + "A" * 42 + "E"
    rest, digits = zlib.crc32(text.encode()), ""
    while rest:
        rest, digit = divmod(rest, 62)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[digit] + digits
    made = make_key("A" * 12, bytes(31) + b"\x01", environment="live")
    assert made.text == text + digits.rjust(6, "0")


def test_each_key_is_another() -> None:
    assert len({new_key_id() for _ in range(100)}) == len({new_secret() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("key_id", "secret", "environment"),
    [("short", bytes(32), "live"), ("A" * 12, bytes(31), "live"), ("A" * 12, bytes(32), "Live"), ("A" * 12, bytes(32), "")],
)
def test_what_no_key_can_hold_is_refused(key_id: str, secret: bytes, environment: str) -> None:
    with pytest.raises(ValueError, match="fit"):
        make_key(key_id, secret, environment=environment)


def test_the_scanners_expression_is_the_one_that_we_read_by(repository: Path) -> None:
    documented = re.search(r"^ftch_.*$", (repository / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert documented is not None and documented[0] == KEY_FORM
