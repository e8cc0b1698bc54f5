"""Atlas: where do taught facts live? A benchmark for test-time-trained LoRA adapters."""

__version__ = "0.1.0"
