"""Long video generation: weights in, videos out, and what judges, prices and releases them."""
