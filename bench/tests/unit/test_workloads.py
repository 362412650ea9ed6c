"""What the benchmarks feed: intents, trades and payloads are what they promise."""

from collections import Counter
from pathlib import Path

import numpy as np

from bench.bare_bus import read_payloads, write_payloads
from bench.executors import balanced_intents, fullest_share, steady_rate
from bench.live_market import TARGET_PRICE, TRIGGER_PRICE, live_market, symbol_names
from bench.trade_feeder import plan_messages
from breakwater_core.identities import partition_of
from breakwater_core.market import TradeBatch
from breakwater_core.portfolio import PortfolioStrategy
from breakwater_runtime.subjects import INTENT_PARTITIONS

MARKET = live_market(symbol_names(16), [f"account-{number}" for number in range(20)])


def test_every_partition_gets_as_many_intents_and_no_intent_comes_twice() -> None:
    intents = balanced_intents(MARKET, 5)
    partitions = Counter(partition_of(intent.account, intent.symbol, INTENT_PARTITIONS) for intent in intents)
    assert set(partitions.values()) == {5}
    assert len({intent.intent_id for intent in intents}) == len(intents) == 5 * len(partitions)


def test_the_fullest_partition_has_at_least_its_share() -> None:
    assert fullest_share(MARKET) >= 1


def test_the_steady_rate_leaves_start_and_end_out() -> None:
    steady = [number * 10_000_000 for number in range(10, 90)]
    late = [10_000_000_000 + number * 1_000_000_000 for number in range(10)]
    assert round(steady_rate([0] * 10 + steady + late)) == 100


def test_one_trade_behind_the_target_makes_the_strategy_enter_and_quiet_trades_do_not() -> None:
    strategy = PortfolioStrategy(MARKET.config, MARKET.config.portfolio.symbols)
    for bar in MARKET.bars():
        strategy.feed_bar(bar)
    for price, decisions in ((100.0, 0), (TRIGGER_PRICE, 1)):
        times = np.array([MARKET.now_ms], np.int64)
        strategy.feed_trades(TradeBatch("S000USDT", times, np.array([price]), np.ones(1), np.ones(1, np.int8)))
        strategy.advance(MARKET.now_ms + round(price))
        found = strategy.next_decisions()
        assert len(found) == decisions
    assert float(found[0].target_price) == TARGET_PRICE


def test_the_feeder_keeps_its_rate_and_its_order_of_triggers() -> None:
    symbols = symbol_names(50)
    request = {"symbols": symbols, "triggers": symbols, "trades_per_s": 5000, "trigger_interval_s": 0.02, "seed": 3}
    plan = plan_messages(request)
    trades = sum(due.trades for due in plan)
    assert [due.symbol for due in plan if due.triggers] == symbols
    assert abs(trades / plan[-1].at_s / 5000 - 1) < 0.1
    assert [due.at_s for due in plan] == sorted(due.at_s for due in plan)


def test_payloads_come_back_as_they_were_written(tmp_path: Path) -> None:
    payloads = [b"", b"a", bytes(range(256)) * 9]
    write_payloads(tmp_path / "payloads.bin", payloads)
    assert read_payloads(tmp_path / "payloads.bin") == payloads
