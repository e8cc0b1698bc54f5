"""The engine: many adapters over one frozen base, their lines of tokens, losses, scores and steps."""
