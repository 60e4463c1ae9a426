"""What claims.py is made of: methods, their videos and scores, claims, verdicts, tables."""
