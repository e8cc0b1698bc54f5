"""The search for recipes: candidates are tried on tuning seeds, arm by arm, by successive halving."""
