"""Chaos: a recording is played through real processes while they die and hang, then the books are checked."""
