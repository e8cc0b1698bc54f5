"""Stage guard: damage done on purpose, and what verification sees of it."""
