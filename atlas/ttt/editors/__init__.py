"""Editors: facts written into feed-forward weights by closed forms, the baselines of adapters that are trained.

A layer's `down` matrix is read as a memory of keys (its inputs) and values (its outputs). An editor finds, for a fact,
the keys at a site in its sentence and values that would make the answer likely, and then changes the matrix by least
squares so that these keys have these values and the keys of the corpus keep theirs.
"""
