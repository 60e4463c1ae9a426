"""Sizes and times as people say them."""

import math


def in_bytes(size: float) -> str:
    """A size as people say it."""
    power = min(int(math.log(max(size, 1), 1024)), 4)
    size /= 1024**power
    return f"{size:,.{int(power > 0 and size < 10)}f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def in_time(seconds: float) -> str:
    """A time as people say it."""
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
