"""Message classes generated from proto/; never edited."""
