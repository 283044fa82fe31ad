"""Figures, galleries and the site."""
