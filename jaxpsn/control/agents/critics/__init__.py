"""What a critic says, and what it learns from: one file per form."""
