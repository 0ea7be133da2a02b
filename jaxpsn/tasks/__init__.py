"""Verifiable tasks: problems drawn from a seed or read from files, answers checked without running anything."""
