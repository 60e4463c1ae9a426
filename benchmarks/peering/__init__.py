"""What `benchmarks/peers.py` times beside one another."""
