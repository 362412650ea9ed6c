"""Where requests leave from, beside where they should: all combinations of what is seen, listed and expected."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.events import Intent
from breakwater_core.verdicts import Refused
from breakwater_runtime.errors import SettingsError
from executor_service.egress import networks_of
from executor_service.egress_rule import UNCHECKED, Standing, Verdict, judge, next_verdict
from executor_service.entry_gate import BarredGate, Permit
from executor_service.settings import ExecutorSettings, Role
from executor_service.venue_clock import ClockMode

ADDRESSES = st.one_of(
    st.ip_addresses(v=4, network="203.0.113.0/28"), st.ip_addresses(v=6, network="2001:db8::/124")
).map(str)
NETWORKS = st.builds(
    lambda address, width: str(
        ipaddress.ip_network(f"{address}/{ipaddress.ip_address(address).max_prefixlen - width}", strict=False)
    ),
    ADDRESSES,
    st.integers(0, 4),
)
EXPECTED = st.lists(st.one_of(ADDRESSES, NETWORKS), min_size=1, max_size=3)
LISTS = st.one_of(st.none(), st.just(["*"]), st.lists(ADDRESSES, max_size=4))


def holds(address: str, network: str) -> bool:
    """Compare address by address, without any of the library's set operations."""
    return any(ipaddress.ip_address(address) == member for member in ipaddress.ip_network(network, strict=False))


@given(expected=EXPECTED, seen=st.one_of(st.none(), ADDRESSES), ips=LISTS)
def test_it_matches_only_if_all_is_known_and_nothing_contradicts(
    expected: list[str], seen: str | None, ips: list[str] | None
) -> None:
    bound = [] if ips is None or "*" in ips else ips
    wrong = (
        (seen is not None and not any(holds(seen, network) for network in expected))
        or (ips is not None and not all(any(holds(address, network) for address in bound) for network in expected))
        or (bool(bound) and seen is not None and seen not in bound)
    )
    is_proven_by_the_key = bool(bound) and all(any(holds(address, net) for net in expected) for address in bound)
    standing = judge(expected, seen=seen, key_ips=ips).standing
    if wrong:
        assert standing is Standing.MISMATCHED
    elif ips is None or (seen is None and not is_proven_by_the_key):
        assert standing is Standing.UNKNOWN
    else:
        assert standing is Standing.MATCHED


@given(st.lists(st.sampled_from(Standing), max_size=12).map(lambda kinds: [Verdict(kind, str(kind)) for kind in kinds]))
def test_the_last_thing_that_was_known_holds_for_a_while(found: list[Verdict]) -> None:
    verdict = UNCHECKED
    for one in found:
        verdict = next_verdict(verdict, one)
    known = [one.standing for one in found if one.standing is not Standing.UNKNOWN]
    assert verdict.standing is (known[-1] if known else Standing.UNKNOWN)


def test_a_match_is_not_trusted_for_ever_and_a_mismatch_is() -> None:
    matched, nothing = Verdict(Standing.MATCHED, ""), Verdict(Standing.UNKNOWN, "not known")
    assert next_verdict(matched, nothing, age_s=599, trust_s=600) is matched
    assert next_verdict(matched, nothing, age_s=600, trust_s=600) is nothing
    wrong = Verdict(Standing.MISMATCHED, "")
    assert next_verdict(wrong, nothing, age_s=6000, trust_s=600) is wrong


@pytest.mark.parametrize("ips", [["*"], []])
def test_a_key_that_any_address_may_use_is_not_bound_to_the_expected_ones(ips: list[str]) -> None:
    verdict = judge(["203.0.113.7"], seen="203.0.113.7", key_ips=ips)
    assert verdict.standing is Standing.MISMATCHED
    assert "bind it" in verdict.detail


def test_an_address_in_its_long_form_is_the_same_address() -> None:
    verdict = judge(["2001:db8::1"], seen="2001:db8::1", key_ips=["2001:0db8:0:0::1"])
    assert verdict.standing is Standing.MATCHED


def test_lists_are_separated_by_commas_or_written_as_json() -> None:
    assert networks_of(" 203.0.113.7, 2001:db8::/64,") == networks_of('["203.0.113.7", "2001:db8::/64"]')
    assert networks_of("") == ()


def settings(monkeypatch: pytest.MonkeyPatch, **values: str) -> ExecutorSettings:
    accounts = '[{"name": "main", "api_key": "k", "api_secret": "s"}]'
    for name, value in {"EXECUTOR_ACCOUNTS": accounts, **values}.items():
        monkeypatch.setenv(name, value)
    return ExecutorSettings.load()


def test_settings_come_under_the_services_name_or_the_installations(monkeypatch: pytest.MonkeyPatch) -> None:
    both = settings(
        monkeypatch,
        BREAKWATER_EGRESS_EXPECTED_IPS="203.0.113.7,2001:db8::/64",
        BREAKWATER_EGRESS_CHECK_SECONDS="5",
        EXECUTOR_EGRESS_CHECK_SECONDS="7",
    )
    assert both.egress_expected_ips == ("203.0.113.7", "2001:db8::/64")
    assert both.egress_check_seconds == 7
    assert both.guards_egress
    assert both.echo_url is not None
    assert not both.model_copy(update={"clock": ClockMode.EVENT}).guards_egress
    assert both.model_copy(update={"role": Role.ACCOUNT}).guards_egress


def test_without_expected_addresses_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = settings(monkeypatch, BREAKWATER_EGRESS_EXPECTED_IPS="", BREAKWATER_EGRESS_ECHO_URL="")
    assert (empty.guards_egress, empty.echo_url) == (False, None)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BREAKWATER_EGRESS_EXPECTED_IPS", "here", "EGRESS_EXPECTED_IPS: .*not an address"),
        ("EXECUTOR_EGRESS_EXPECTED_IPS", "203.0.113.300", "EGRESS_EXPECTED_IPS: .*not an address"),
        ("BREAKWATER_EGRESS_EXPECTED_IP", "203.0.113.7", "no such setting: BREAKWATER_EGRESS_EXPECTED_IP;"),
        ("BREAKWATER_EGRESS_CHECK_SECONDS", "0", "EGRESS_CHECK_SECONDS"),
        ("BREAKWATER_EGRESS_ECHO_URL", "ftp://x", "EGRESS_ECHO_URL"),
    ],
)
def test_an_absurd_setting_ends_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings(monkeypatch, **{name: value})


async def test_what_bars_an_account_while_the_gate_is_asked_keeps_its_entry_from_being_sent(kit: Any) -> None:
    bars: dict[str, Refused] = {}

    class Slow:
        async def ask(self, intent: Intent, *, after_ms: int) -> Permit | Refused:
            bars["main"] = Refused("egress_mismatch", "the route has changed meanwhile")
            return Permit(1, 2.0)

    answer = await BarredGate(Slow(), bars.get).ask(kit.intent(), after_ms=0)
    assert answer == bars["main"]
    assert await BarredGate(Slow(), lambda _account: None).ask(kit.intent(), after_ms=0) == Permit(1, 2.0)
