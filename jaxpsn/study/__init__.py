"""Studies: arms x tasks x seeds as units, ordered by one scheduler, made by the processes of a launcher."""
