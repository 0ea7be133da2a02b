"""What every room stands on: errors, checks, files, placement of arrays; imports no other room."""
