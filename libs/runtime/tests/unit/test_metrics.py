"""What every process shows of itself."""

import asyncio
import time

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest

from breakwater_core.control import Control
from breakwater_runtime.control import ControlWatch
from breakwater_runtime.health import Health
from breakwater_runtime.loop_lag import measured_loop
from breakwater_runtime.metrics import ProcessRegistry, begin_at_zero


def test_every_sample_carries_the_run_once_it_is_known() -> None:
    registry = CollectorRegistry()
    Gauge("height", "Height.", ["place"], registry=registry).labels("here").set(2)
    process = ProcessRegistry(registry)
    assert 'height{place="here"} 2.0' in generate_latest(process).decode()
    process.run_id = "replay-1"
    assert 'height{place="here",run="replay-1"} 2.0' in generate_latest(process).decode()


def test_counters_with_known_labels_begin_at_zero_in_every_combination() -> None:
    registry = CollectorRegistry()
    counter = Counter("seen", "Seen.", ["what", "how"], registry=registry)
    begin_at_zero(counter, ("a", "b"), ("x", "y"))
    assert registry.get_sample_value("seen_total", {"what": "b", "how": "x"}) == 0
    assert len(generate_latest(registry).decode().splitlines()) == 6, "two lines of help, four of values"


def test_conditions_of_readiness_are_shown_one_by_one() -> None:
    def shown(condition: str) -> float | None:
        return REGISTRY.get_sample_value("breakwater_ready", {"condition": condition})

    health = Health("door", "window")
    assert (shown("door"), shown("window")) == (0, 0)
    health.hold("door")
    assert (shown("door"), shown("window")) == (1, 0)
    health.fail("door", "it is shut")
    assert shown("door") == 0


def test_halts_are_shown_by_account_and_end_with_the_resume() -> None:
    def shown(account: str) -> float | None:
        return REGISTRY.get_sample_value("breakwater_halted", {"account": account})

    watch = ControlWatch()
    assert shown("*") == 0
    halted = Control().halt("halted-one").halt()
    watch.take(halted.encode(), revision=1)
    assert (shown("*"), shown("halted-one")) == (1, 1)
    watch.take(halted.resume().encode(), revision=2)
    assert (shown("*"), shown("halted-one")) == (0, 1)
    watch.take(halted.resume().resume("halted-one").encode(), revision=3)
    assert shown("halted-one") == 0


async def test_a_blocked_event_loop_is_seen_to_be_late() -> None:
    def slow() -> float:
        whole = REGISTRY.get_sample_value("breakwater_event_loop_lag_seconds_count") or 0
        return whole - (REGISTRY.get_sample_value("breakwater_event_loop_lag_seconds_bucket", {"le": "0.1"}) or 0)

    before = slow()
    async with measured_loop(interval_s=0.001), asyncio.timeout(90):
        while slow() == before:
            await asyncio.sleep(0.002)
            time.sleep(0.15)  # what this is about: something that does not give way
    assert slow() > before


def test_a_second_series_for_the_time_of_creation_is_left_out() -> None:
    assert "_created" not in generate_latest(REGISTRY).decode()
