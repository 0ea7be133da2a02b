"""What actors and critics are made of: one file per form."""
