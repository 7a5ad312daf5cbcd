"""A run over clips: which they are, who works on them, and what became of each."""
