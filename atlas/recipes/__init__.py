"""Recipes of test-time training as data: what a recipe may say, and the presets, one file each."""
