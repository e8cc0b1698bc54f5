"""Stage ttt: facts taught session by session to LoRA lanes, and what is left of them."""
