"""What studies of control compare: arms, presets, settings, and what their units do."""
