"""Files that a stranger could send: what the programs do with them, watched by Python's audit hooks."""
