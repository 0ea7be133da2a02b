"""The run loop shared by every experiment: checkpoints, metrics, progress, run folders."""
