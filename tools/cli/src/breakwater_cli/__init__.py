"""The breakwater command."""
