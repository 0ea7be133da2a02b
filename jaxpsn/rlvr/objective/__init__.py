"""What an update lowers: advantages, losses, corrections for the sampler's noise, gates; functions and components."""
