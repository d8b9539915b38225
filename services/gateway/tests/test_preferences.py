"""Preferences (RFC 7240): what is understood, and that the rest is ignored."""

import pytest

from gateway.http.preferences import Preferences, read_preferences

ASYNC = Preferences(respond_async=True)

ROWS: list[tuple[list[str], Preferences]] = [
    ([], Preferences()),
    ([""], Preferences()),
    (["wait=10"], Preferences(wait_seconds=10)),
    (["WAIT = 10"], Preferences(wait_seconds=10)),
    (['wait="10"'], Preferences(wait_seconds=10)),
    (["respond-async"], ASYNC),
    (["Respond-Async;foo=bar"], ASYNC),
    (["respond-async, wait=10"], Preferences(wait_seconds=10, respond_async=True)),
    (["respond-async", "wait=10"], Preferences(wait_seconds=10, respond_async=True)),
    ([', ,wait=3; x="a,wait=9", respond-async'], Preferences(wait_seconds=3, respond_async=True)),
    (["wait=1, wait=2"], Preferences(wait_seconds=1)),  # section 2: only the first instance is considered
    (["wait=soon, wait=2"], Preferences()),
    (["wait"], Preferences()),
    (["wait=-1"], Preferences()),
    (["wait=1.5"], Preferences()),
    (["wait=99999999999999999999"], Preferences()),
    (["respond-async=no"], Preferences()),
    (['return=minimal, foo="a\\",wait=4", wait=5'], Preferences(wait_seconds=5)),
    (['wait="5', "wait=6"], Preferences(wait_seconds=6)),
    (["wait=5 6"], Preferences()),
    (["=5, wait=7"], Preferences(wait_seconds=7)),
    (["w\u00e4it=5"], Preferences()),
]


@pytest.mark.parametrize(("fields", "preferences"), ROWS, ids=[str(row[0]) for row in ROWS])
def test_preferences_are_read_as_the_rfc_has_them(fields: list[str], preferences: Preferences) -> None:
    assert read_preferences(fields) == preferences


def test_a_long_field_is_read_in_time_that_grows_with_its_length() -> None:
    for hostile in ('"' * 60_000, '"\\' * 30_000, "wait=" * 12_000, "," * 60_000, 'a="' + "\\" * 60_000, " \t" * 30_000):
        assert read_preferences([hostile]) == Preferences()
