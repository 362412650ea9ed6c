"""Fetching recorded market data: candles and funding rates over REST, trades from the public archive."""
