"""Settings: read from the environment, checked against each other."""

from ipaddress import ip_address, ip_network

import pytest
from common.chassis.settings import load_settings
from common.egress.addresses import AddressVerdict, judge_dial
from common.egress.policies import CallbackPolicy, ProxyPolicy, TargetPolicy

from fetcher.egress.budgets import Budgets
from fetcher.egress.kept import Keeping
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
    assert settings.target_policy == TargetPolicy(ports=frozenset({80, 443}), unsafe_networks=())
    assert settings.callback_policy == CallbackPolicy(ports=frozenset({80, 443}), unsafe_networks=())
    assert settings.proxy_policy == ProxyPolicy(ports=None, unsafe_networks=())
    assert settings.egress_proxy is None and settings.contact == "" and settings.budgets == Budgets()
    assert settings.user_agent.startswith("Fetchwork/")


def test_connections_are_kept_as_it_is_set(environment: pytest.MonkeyPatch) -> None:
    assert load_settings(FetcherSettings).keeping == Keeping(seconds=15, limit=512)
    environment.setenv("FETCHWORK_IDLE_CONNECTION_SECONDS", "2.5")
    environment.setenv("FETCHWORK_IDLE_CONNECTIONS", "7")
    assert load_settings(FetcherSettings).keeping == Keeping(seconds=2.5, limit=7)


def test_lists_are_comma_separated(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FETCHWORK_UNSAFE_TARGET_NETWORKS", "127.8.0.1/32, fd00::/8,")
    environment.setenv("FETCHWORK_TARGET_PORTS", "80,8080")
    policy = load_settings(FetcherSettings).target_policy
    assert policy.unsafe_networks == (ip_network("127.8.0.1/32"), ip_network("fd00::/8"))
    assert policy.ports == {80, 8080}


def test_an_exemption_of_one_policy_opens_no_other(environment: pytest.MonkeyPatch) -> None:
    for kind in ("TARGET", "CALLBACK", "PROXY"):
        environment.setenv(f"FETCHWORK_UNSAFE_{kind}_NETWORKS", f"127.0.0.{len(kind)}/32")
    settings = load_settings(FetcherSettings)
    for policy, own in ((settings.target_policy, 6), (settings.callback_policy, 8), (settings.proxy_policy, 5)):
        verdicts = {number: judge_dial(ip_address(f"127.0.0.{number}"), 80, policy=policy) for number in (5, 6, 8)}
        assert verdicts.pop(own) is AddressVerdict.UNSAFE_NETWORK
        assert set(verdicts.values()) == {AddressVerdict.DENY_LOOPBACK}


def test_target_ports_are_those_of_targets_alone(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FETCHWORK_TARGET_PORTS", "8080")
    settings = load_settings(FetcherSettings)
    assert (settings.target_policy.ports, settings.callback_policy.ports) == ({8080}, {80, 443})


def test_proxy_has_its_credentials_apart_and_shows_them_nowhere(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FETCHWORK_EGRESS_PROXY_URL", "http://user:p%40ss@proxy.example.com:3128")
    settings = load_settings(FetcherSettings)
    proxy = settings.egress_proxy
    assert proxy is not None and (proxy.name, proxy.port) == ("proxy.example.com", 3128)
    assert proxy.credentials == "Basic dXNlcjpwQHNz" and proxy.policy == settings.proxy_policy
    assert "p%40ss" not in repr(settings) and "dXNl" not in repr(proxy)


def test_budgets_come_from_their_settings(environment: pytest.MonkeyPatch) -> None:
    numbers = {
        "CONNECT_TIMEOUT_SECONDS": 1, "FIRST_BYTE_TIMEOUT_SECONDS": 2, "IDLE_TIMEOUT_SECONDS": 3, "HEADER_LIMIT_BYTES": 4096,
        "HEADER_LIMIT_LINES": 9, "HEADER_LINE_LIMIT_BYTES": 2048, "REDIRECT_LIMIT": 4, "DECODED_RATIO_LIMIT": 50,
        "WIRE_SLACK_BYTES": 7,
    }
    for name, number in numbers.items():
        environment.setenv(f"FETCHWORK_{name}", str(number))
    assert load_settings(FetcherSettings).budgets == Budgets(
        connect_seconds=1, first_byte_seconds=2, idle_seconds=3, header_bytes=4096, header_lines=9, header_line_bytes=2048,
        redirects=4, decoded_ratio=50, wire_slack_bytes=7,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNSAFE_CALLBACK_NETWORKS", "127.0.0.1/8"),
        ("UNSAFE_PROXY_NETWORKS", "everything"),
        ("EGRESS_PROXY_URL", "https://proxy.example.com:3128"),
        ("EGRESS_PROXY_URL", "socks5://proxy.example.com:1080"),
        ("EGRESS_PROXY_URL", "http://user@proxy.example.com:3128"),
        ("EGRESS_PROXY_URL", "http://u:p@x@proxy.example.com:3128"),
        ("EGRESS_PROXY_URL", "http://u:p%0d%0a@proxy.example.com:3128"),
        ("EGRESS_PROXY_URL", "http://proxy.example.com:3128/path"),
        ("EGRESS_PROXY_URL", "http://127.1:3128"),
        ("CONTACT", "not a mailbox"),
        ("CONTACT", "a@b.test\r\nX: y"),
        ("CONNECT_TIMEOUT_SECONDS", "0"),
        ("FIRST_BYTE_TIMEOUT_SECONDS", "61"),
        ("IDLE_TIMEOUT_SECONDS", "nan"),
        ("HEADER_LIMIT_BYTES", "1"),
        ("DECODED_RATIO_LIMIT", "1"),
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
