"""Backtest, parameter search and tearsheets on recorded data."""
