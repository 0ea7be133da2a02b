"""Whole jobs, from a command line to a folder with its report."""
