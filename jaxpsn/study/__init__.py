"""Comparisons: several exploration arms, each with vmapped seeds, one after the other in a folder that can go on."""
