"""Charts as data, and what is made of them: SVG in the page, and files of SVG for everything else."""
