"""Stage pool: the facts to teach, the facts never taught, and per seed the order of teaching."""
