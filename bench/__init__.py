"""Benchmarks: each prints figures next to their targets and to the limit measured in the same run."""
