"""Model folders as Hugging Face lays them out, and GGUF files shown as such: found, read and written."""
