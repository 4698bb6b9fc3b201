"""Mutated files for the readers."""
