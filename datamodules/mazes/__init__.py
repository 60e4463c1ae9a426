"""A world in which memory is necessary: random mazes whose rooms look as nothing but history tells."""
