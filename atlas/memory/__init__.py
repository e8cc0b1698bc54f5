"""A memory that stays: facts of a user's own, taught session by session to one model, in a folder."""
