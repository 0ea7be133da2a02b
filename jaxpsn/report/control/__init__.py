"""Plots and the page of a control run."""
