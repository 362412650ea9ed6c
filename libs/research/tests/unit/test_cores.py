"""Cores are counted on every system."""

import os

import pytest

from breakwater_research.cores import usable_cores


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_a_system_that_does_not_tell_which_cores_may_be_used_has_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == os.cpu_count()
