"""From a completion to the value it gives: the final answer found, cleaned and read."""
