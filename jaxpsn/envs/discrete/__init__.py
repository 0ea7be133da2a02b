"""Tasks with discrete actions."""
