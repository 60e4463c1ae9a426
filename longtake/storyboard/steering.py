"""Control of a take: the rows of its file, shared out to the segments in the order in which they are seen."""

from collections.abc import Mapping

from torch import Tensor

from longtake.control import read_numbers
from longtake.storyboard.layout import Place
from longtake.storyboard.schema import ModelLimits, Storyboard, fail
from networks.control import to_latent_frames


def control_of(storyboard: Storyboard, places: Mapping[str, Place], limits: ModelLimits) -> Mapping[str, Tensor]:
    """The numbers of each segment's latent frames, f (p n), by name; none where the storyboard states no control.

    Args:
        storyboard: storyboard whose `control` has a row for each pixel frame of the take, given videos included.
        places: places of all segments.
        limits: what the weights can do, with the columns that they take.

    Returns:
        The numbers of each segment by its name.

    Raises:
        ValueError: if the weights take no control, or the file does not fit, naming file, line and reason.
    """
    if storyboard.control is None:
        return {}
    line, factor = storyboard.lines["control"], limits.time_factor
    if not limits.control:
        fail(storyboard.file, line, "control: these weights take none, so leave it out, or train with control=pose")
    num_latents = sum(place.latents for place in places.values())
    num_frames = (num_latents - 1) * factor + 1
    try:
        rows = read_numbers(storyboard.control, limits.control, where=f"control {storyboard.control}")
    except ValueError as error:
        fail(storyboard.file, line, str(error))
    if len(rows) < num_frames:
        reason = f"control {storyboard.control} has {len(rows)} rows, but the take has {num_frames} frames"
        fail(storyboard.file, line, f"{reason}: give a row for each, those of given videos too")
    latents = to_latent_frames(rows[:num_frames], factor)
    return {name: latents[place.start : place.start + place.latents] for name, place in places.items()}
