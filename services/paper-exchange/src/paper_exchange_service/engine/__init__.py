"""The matching engine: pure, without I/O or wall clock; every time comes in as an argument, milliseconds UTC."""
