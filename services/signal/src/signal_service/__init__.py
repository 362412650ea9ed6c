"""Trades, bars and the clock in; intents out."""
