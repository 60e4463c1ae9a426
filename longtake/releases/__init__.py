"""Trained weights: read from anybody, written for others."""
