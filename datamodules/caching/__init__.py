"""What is cached and how: shards of tensors, names of films by their bytes, the work shared out.

Below `datamodules.cache`, which says what a cached film and a clip are.
"""
