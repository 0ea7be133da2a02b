"""What a reasoning run has beyond the loop: stages, inputs, judging and replay of trained policies."""
