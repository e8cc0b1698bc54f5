"""Damage done to checkpoints on purpose, kind by kind."""
