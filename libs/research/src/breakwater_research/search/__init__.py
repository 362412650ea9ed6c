"""Parameter search: which settings would have done well, and how far that can be believed."""
