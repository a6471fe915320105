"""Statistics that compare the galaxies of a catalog with those of a model."""
