"""Charts as data, and what is made of them: SVG for the page, PNG for everything else."""
