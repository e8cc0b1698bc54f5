"""A plugin of Atlas. It imports nothing here, so that each part loads alone."""
