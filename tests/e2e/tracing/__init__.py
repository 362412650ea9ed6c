"""Traces of a whole replay at a real OTLP/HTTP collector."""
