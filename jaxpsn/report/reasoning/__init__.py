"""Plots and the page of a reasoning run."""
