"""Stores of blocks by CID."""
