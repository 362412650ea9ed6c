"""The exchange at the wire: clients over pybit, decoding, error classes, request budget."""
