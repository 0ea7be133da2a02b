"""What the reports of studies share: reading the folder, the tidy table, and how arms and methods are told."""
