"""Metrics of long-video quality: torchmetrics that average over videos, and the report card of a folder."""
