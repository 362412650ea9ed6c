"""The study: what the strategy did on given candles, told with its figures, its doubts and its costs."""
