"""Bybit v5 as messages: requests in, rows out. No sockets here."""
