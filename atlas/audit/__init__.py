"""Stage audit: damage done on purpose and honest models, and what the guard says of both."""
