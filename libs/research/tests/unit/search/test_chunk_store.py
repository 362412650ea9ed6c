"""Finished chunks: whole or absent, and of one search only."""

from pathlib import Path

import numpy as np
import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_research.search.chunk_store import ChunkStore, chunk_name


def test_a_chunk_comes_back_as_it_was(tmp_path: Path) -> None:
    arrays = {"returns": np.random.default_rng(1).normal(size=(3, 5)), "trades": np.arange(3)}
    ChunkStore(tmp_path, "x").write("sets-1", arrays)
    found = ChunkStore(tmp_path, "x").read("sets-1")
    assert found is not None
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in arrays.items()
    }


def test_a_chunk_that_is_absent_or_cut_short_is_none(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, "x")
    assert store.read("sets-1") is None
    store.write("sets-1", {"returns": np.zeros((50, 50))})
    file = tmp_path / "chunks/sets-1.npz"
    whole = file.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert store.read("sets-1") is None


def test_a_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    ChunkStore(tmp_path, "x").write("sets-1", {"trades": np.arange(3)})
    with pytest.raises(InvalidInputError, match="other data or settings"):
        ChunkStore(tmp_path, "y")
    ChunkStore(tmp_path, "x").remove()
    ChunkStore(tmp_path, "y")


def test_a_folder_in_which_another_search_computed_nothing_is_taken_over(tmp_path: Path) -> None:
    ChunkStore(tmp_path, "x")
    ChunkStore(tmp_path, "y").write("sets-1", {"trades": np.arange(3)})
    with pytest.raises(InvalidInputError, match="other data or settings"):
        ChunkStore(tmp_path, "x")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        ChunkStore(tmp_path / "file", "x")


def test_chunks_of_other_sets_or_another_order_have_other_names() -> None:
    assert len({chunk_name(["a", "b"]), chunk_name(["b", "a"]), chunk_name(["a"])}) == 3
