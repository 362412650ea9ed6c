"""Intents in, orders at the exchange; private stream in, fills and account snapshots out."""
