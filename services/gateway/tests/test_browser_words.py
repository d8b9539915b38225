"""What browsers say in headers: cookies of others beside ours, and origins that are none."""

import pytest

from gateway.access.sessions import COOKIE, session_of
from gateway.http.same_origin import is_cross_origin


@pytest.mark.parametrize("others", ["", 'a={"x":1}; ', "a[]=1; ", "=; ; a; "], ids=["none", "json", "brackets", "empty"])
def test_a_malformed_cookie_of_another_spoils_ours_not(others: str) -> None:
    assert session_of(f"{others}{COOKIE}=secret") == "secret"


@pytest.mark.parametrize("cookies", [None, "", f"{COOKIE}=", f"not{COOKIE}=secret", f"{COOKIE}={'x' * 5000}"])
def test_what_is_no_session_of_ours_is_none(cookies: str | None) -> None:
    assert session_of(cookies) is None


def test_an_origin_that_is_none_is_not_ours() -> None:
    assert is_cross_origin({"origin": "http://[", "host": "127.0.0.1:8080"})
    assert not is_cross_origin({"origin": "http://127.0.0.1:8080", "host": "127.0.0.1:8080"})
