"""Benchmarks: Atlas's engine beside transformers with PEFT, on the same batches, with the same results."""
