"""Front ends for other training stacks; each is imported by its own name and brings its own requirements."""
