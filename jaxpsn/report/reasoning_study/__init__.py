"""Tables, plots and the page of a study of reasoning."""
