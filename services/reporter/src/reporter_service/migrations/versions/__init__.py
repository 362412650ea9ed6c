"""Steps that bring the database's tables up to date."""
