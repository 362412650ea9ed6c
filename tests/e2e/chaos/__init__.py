"""Chaos: a recording is played through real processes while they die and hang; then the exchange's books are checked."""
