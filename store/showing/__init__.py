"""Showing what is in images without trusting them: nothing of theirs runs (H20, H21)."""
