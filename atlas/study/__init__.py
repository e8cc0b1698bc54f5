"""What a study says, typed: every key of ``config.yaml``, and what one job gets of it."""
