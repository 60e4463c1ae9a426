"""What a video will cost, from sizes alone: FLOPs, memory and time before anything runs."""
