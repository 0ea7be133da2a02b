"""The study of reasoning: arms x tasks x seeds, each an ordinary run, made by worker processes; it can go on."""
