"""Lays videos out for VBench and VBench-Long, and names what they would drop or break on."""
