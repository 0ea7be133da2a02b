"""What builds the documentation: tables of results, pages of the API, pages of methods."""
