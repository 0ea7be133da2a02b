"""Off-policy control with parameter-space noise."""
