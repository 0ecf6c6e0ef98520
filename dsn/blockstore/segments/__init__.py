"""Append-only segments: every one a valid CARv1 file of its own."""
