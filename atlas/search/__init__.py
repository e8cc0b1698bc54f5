"""The search for recipes and editors' settings: candidates tried on tuning seeds, arm by arm, by successive halving."""
