"""What perturbs the sampler's weights: the noises, the rules that move their scale, and how alike answers are."""
