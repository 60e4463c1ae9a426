"""Settings of the programs: their types, ranges, and which go together."""
