"""Bybit v5 over HTTP and WebSocket, deterministic: the exchange for paper mode, replay and tests."""
