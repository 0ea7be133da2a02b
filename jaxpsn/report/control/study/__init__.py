"""The report of a study of control: its folder, its numbers, what they say, its charts and its page."""
