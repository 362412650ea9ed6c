"""Backtests over candles: all bars in arrays, the first crossing of a level by search, many parameter sets at once."""
