"""Reinforcement learning with verifiable rewards: PSN-GRPO on language models."""
