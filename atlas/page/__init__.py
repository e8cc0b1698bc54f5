"""What people read: the page, its sentences and tables, the figures of the README, the tables of the terminal."""
