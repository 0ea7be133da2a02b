"""Language models: decoder, Hugging Face folders, tokenizers, and a sampler with a key-value cache."""
