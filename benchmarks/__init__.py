"""Speed, memory and cost: programs that print ratios measured side by side in one run."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The repository."""
