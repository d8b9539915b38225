"""Settings: read from the environment, checked against each other."""

from ipaddress import ip_network

import pytest
from common.chassis.settings import load_settings

from fetcher.settings import FetcherSettings

REQUIRED = {
    "METRICS_PORT": "0",
    "EVENTS_URL": "redis://127.0.0.1:1",
    "BROKER_URL": "redis://127.0.0.1:2",
    "STORE_URL": "http://127.0.0.1:3",
    "STORE_TOKEN": "0123456789abcdef",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with only what is required."""
    for name, value in REQUIRED.items():
        monkeypatch.setenv(f"FETCHWORK_{name}", value)
    return monkeypatch


def test_required_settings_are_enough_and_the_default_allows_nothing_but_the_web(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings(FetcherSettings)
    assert (settings.fetcher_slots, settings.fetcher_drain_seconds) == (256, 65)
    assert settings.egress_policy.ports == {80, 443} and settings.egress_policy.unsafe_networks == ()
    assert settings.user_agent.startswith("Fetchwork/")


def test_lists_are_comma_separated(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FETCHWORK_UNSAFE_TARGET_NETWORKS", "127.8.0.1/32, fd00::/8,")
    environment.setenv("FETCHWORK_TARGET_PORTS", "80,8080")
    policy = load_settings(FetcherSettings).egress_policy
    assert policy.unsafe_networks == (ip_network("127.8.0.1/32"), ip_network("fd00::/8"))
    assert policy.ports == {80, 8080}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNSAFE_TARGET_NETWORKS", "127.0.0.1/8"),
        ("UNSAFE_TARGET_NETWORKS", "everything"),
        ("TARGET_PORTS", "0"),
        ("TARGET_PORTS", ""),
        ("FETCHER_SLOTS", "0"),
        ("FETCHER_SLOTS", "4097"),
        ("FETCHER_DRAIN_SECONDS", "59"),
        ("STORE_URL", "store:8000"),
        ("STORE_URL", ""),
        ("STORE_TOKEN", "short"),
        ("USER_AGENT", "two\nlines"),
    ],
)
def test_faulty_setting_is_named_and_ends_the_start(
    name: str, value: str, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv(f"FETCHWORK_{name}", value)
    with pytest.raises(SystemExit) as exit_:
        load_settings(FetcherSettings)
    assert exit_.value.code == 2
    assert f"FETCHWORK_{name}:" in capsys.readouterr().err
