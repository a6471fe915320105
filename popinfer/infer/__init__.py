"""Inference: counts, likelihood, search, surrogate, samplers; nothing of physics."""
