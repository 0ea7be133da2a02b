"""What the compilers of accelerators tell of our programs on a machine that has none."""
