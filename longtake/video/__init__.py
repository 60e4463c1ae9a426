"""Videos in and out: one probe, one decoder and one writer for training, storyboards, reports and VBench.

`probe` says what a film is as players show it; `stream_frames` gives its frames at any size and rate, block by block,
in memory that depends on the block and not on the film; `read_frames` and `read_video` hold them all; `write_video`
writes H.264 mp4 piece by piece, then renames it.
Axes: f frames, h height, w width, c channels (RGB); uint8 in [0, 255].
"""

from longtake.video.decoding import read_frames, read_video, stream_frames
from longtake.video.pictures import Frames
from longtake.video.places import Place, is_remote, place
from longtake.video.probing import Film, probe
from longtake.video.writing import write_video

__all__ = [
    "Film",
    "Frames",
    "Place",
    "is_remote",
    "place",
    "probe",
    "read_frames",
    "read_video",
    "stream_frames",
    "write_video",
]
