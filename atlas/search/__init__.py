"""The search for recipes and editors' settings: trials on tuning seeds, arm by arm, rung by rung."""
