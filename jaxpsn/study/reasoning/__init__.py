"""What studies of reasoning compare: arms, tasks, presets, settings, and what their units do."""
