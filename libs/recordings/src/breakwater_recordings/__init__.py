"""Recorded and synthetic trades: readers, writers, coverage of days."""
