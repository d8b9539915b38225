"""What an Idempotency-Key is, which record it has, when two requests are the same, and which ids they reserve."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from common.ids import new_fetch_id

from gateway.idempotency.keys import Fingerprint, Reserved, read_key, record_name
from gateway.idempotency.records import Answer
from gateway.idempotency.sealing import seal, unseal

SCOPE: dict[str, Any] = {"method": "POST", "path": "/v1/a b", "raw_path": b"/v1/a%20b", "query_string": b"x=1"}
NOW = datetime(2031, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ([b'"8e03978e-40d5-43e8-bc93-6894a57f9324"'], b"8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ([b"8e03978e-40d5-43e8-bc93-6894a57f9324"], b"8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ([b'"with a blank, and a comma"'], b"with a blank, and a comma"),
        ([rb'"a \"quote\" and a \\"'], b'a "quote" and a \\'),
        ([b' "x" '], b"x"),
        ([b"k" * 255], b"k" * 255),
        ([b'"' + b"k" * 255 + b'"'], b"k" * 255),
        ([b"k" * 256], None),
        ([b'"' + b"k" * 256 + b'"'], None),
        ([b""], None),
        ([b'""'], None),
        ([b'"open'], None),
        ([b"open\""], None),
        ([b'"a"b"'], None),
        ([rb'"\a"'], None),
        ([b'"a";v=1'], None),
        ([b"two words"], None),
        ([b"a,b"], None),
        ([b'"a", "b"'], None),
        (["clé".encode()], None),
        ([b"tab\there"], None),
        ([b"a", b"a"], None),
        ([], None),
    ],
)
def test_keys_are_read_quoted_and_bare(values: list[bytes], key: bytes | None) -> None:
    assert read_key(values) == key


def test_a_record_belongs_to_one_tenant_and_tells_neither_name() -> None:
    names = {record_name(tenant, key) for tenant in ("acme", "acme-2") for key in (b"k", b"2-k")}
    assert len(names) == 4
    assert all(name.startswith("fetchwork:v1:idempotency:") and "acme" not in name for name in names)


@pytest.mark.parametrize(
    "other", [{"method": "PUT"}, {"raw_path": b"/v1/a b"}, {"query_string": b"x=2"}, {"query_string": b""}, {"body": b"{ }"}]
)
def test_another_method_path_query_or_body_is_another_request(other: dict[str, Any]) -> None:
    assert _fingerprint(SCOPE) == _fingerprint(dict(SCOPE)) != _fingerprint(SCOPE | other)


def _fingerprint(scope: dict[str, Any]) -> bytes:
    fingerprint = Fingerprint(scope)
    for byte in scope.get("body", b"{}"):
        fingerprint.update(bytes([byte]))
    return fingerprint.digest()


def test_reserved_ids_sort_by_time_and_number_and_come_again() -> None:
    reserved = Reserved(id=new_fetch_id(), at=NOW)
    ids = [reserved.nth(number) for number in (0, 1, 2, 1000, 2**32 - 1)]
    assert ids == sorted(set(ids)) == [reserved.nth(number) for number in (0, 1, 2, 1000, 2**32 - 1)]
    assert {(one.version, one.variant, one.int >> 80) for one in ids} == {(7, ids[0].variant, reserved.id.int >> 80)}
    assert "RFC 4122" in str(ids[0].variant)
    assert reserved.nth(1) != Reserved(id=new_fetch_id(), at=NOW).nth(1)
    assert reserved.nth(1, b"a") != reserved.nth(1, b"b") and reserved.nth(1, b"b") < reserved.nth(2, b"a")


def test_a_reserved_time_is_kept_exactly() -> None:
    reserved = Reserved(id=UUID(int=7), at=NOW)
    assert Reserved.read(str(reserved.id).encode(), str(reserved.microseconds).encode()) == reserved


def test_an_answer_is_packed_whole() -> None:
    answer = Answer(status=201, headers=((b"x-name", "ü".encode("latin-1")), (b"x-name", b"2")), body=b"line\nline\0\xff")
    assert Answer.unpacked(answer.packed()) == answer
    assert Answer.of(answer.replay()).headers == (*answer.headers, (b"idempotency-replayed", b"true"))
    assert json.loads(answer.packed().partition(b"\n")[0])[0] == 201


def test_only_the_same_credentials_open_what_was_sealed() -> None:
    sealed = seal(b"a secret", bearer=b"Bearer k", context=b"c")
    assert b"secret" not in sealed and sealed != seal(b"a secret", bearer=b"Bearer k", context=b"c")
    assert unseal(sealed, bearer=b"Bearer k", context=b"c") == b"a secret"
    assert unseal(sealed, bearer=b"Bearer l", context=b"c") is None
    assert unseal(sealed, bearer=b"Bearer k", context=b"d") is None
    assert unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), bearer=b"Bearer k", context=b"c") is None
