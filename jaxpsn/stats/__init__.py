"""Statistics of runs and evaluations: intervals over seeds, pass@k, comparisons problem by problem."""
