"""Submissions: a folder with a card, its weights and perhaps its results, checked before anything of it is believed."""
