"""The guard: whether a checkpoint, or a model in memory, holds what it should. A library that stands alone."""
