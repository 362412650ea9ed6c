"""Bayesian sampling: seeded, bounded, and better than chance where there is a hill to climb."""

import random

from breakwater_core.config import BreakwaterConfig
from breakwater_research.search.sampling import BATCH, SetSampler
from breakwater_research.search.space import SearchSpace, axes_of

SPACE = SearchSpace(
    BreakwaterConfig(),
    axes_of(["strategy.k_long=0.1:3.0:0.1", "strategy.ma_window=2:40:1", "strategy.filter=trend,contrarian,none"]),
)


def hill(point: tuple[int, ...]) -> float:
    return -((point[0] - 20) ** 2) - (point[1] - 8) ** 2 - 50.0 * (point[2] != 1)


def sampled(seed: int, trials: int) -> list[tuple[int, ...]]:
    sampler = SetSampler(SPACE, trials=trials, seed=seed)
    points: list[tuple[int, ...]] = []
    while batch := sampler.ask():
        sampler.tell([hill(point) for point in batch])
        points += batch
    return points


def test_so_many_sets_are_asked_for_and_lie_in_the_space() -> None:
    points = sampled(1, 2 * BATCH + 3)
    assert len(points) == 2 * BATCH + 3
    assert all(0 <= index < len(axis.values) for point in points for index, axis in zip(point, SPACE.axes, strict=True))


def test_the_same_seed_asks_for_the_same_sets() -> None:
    assert sampled(1, 40) == sampled(1, 40)
    assert sampled(1, 40) != sampled(2, 40)


def test_it_climbs_a_hill_faster_than_chance() -> None:
    generator = random.Random(5)
    chance = [
        max(hill(tuple(generator.randrange(len(axis.values)) for axis in SPACE.axes)) for _ in range(128))
        for _ in range(21)
    ]
    assert max(hill(point) for point in sampled(3, 128)) > sorted(chance)[10]
