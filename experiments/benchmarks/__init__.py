"""What ``experiments/benchmark.py`` times, one module per subject."""
