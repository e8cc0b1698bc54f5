"""Stage base: the Shakespeare corpus, a pretrained checkpoint, and its certificate."""
