"""Exchange feed or recording in; trades, daily bars and the clock out."""
