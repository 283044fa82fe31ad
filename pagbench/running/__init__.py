"""A run: sessions, units of work, who does them, what they share, and where their rows come from."""
