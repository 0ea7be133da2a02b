"""The report of a study of reasoning: its folder, its numbers, what they say, its charts and its page."""
