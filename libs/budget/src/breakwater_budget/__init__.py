"""The shared request budget on the bus: its documents in a key-value bucket, its metrics and its alert."""
