"""What a survey does to galaxies: noise, selection, redshifts, numbers."""
