"""Weights that make nothing but plans and grey segments, for tests of the studio's logic."""

from pathlib import Path

import torch

from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.given import VideoProbe
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import dependants, plan
from longtake.storyboard.schema import ModelLimits
from longtake.studio.weights import PlannedSegment, PlannedTake
from longtake.video import write_video

LIMITS = ModelLimits("fake", 10, 16, 4, MemoryPolicy(3, 4.0, 2.0, 64.0), 2)


class FakeWeights:
    """Segments are files in `segments`; `before_step` is called at each of two steps a segment."""

    name, about, fps = "fake", "nothing is sampled", 8.0
    has_memory, has_global_tokens, most_frames, default_frames = True, False, 40, 40

    def __init__(self, output, before_step=lambda: None):
        self.output, self.before_step = Path(output), before_step

    def speed(self):
        return 2.0

    def read(self, file):
        return read_storyboard(file, LIMITS)

    def plan(self, file):
        made = plan(self.read(file), LIMITS, VideoProbe(self.fps))
        segments = tuple(
            PlannedSegment(
                name=step.name,
                task=step.task,
                shot=step.shot,
                num_frames=step.num_frames,
                latents=step.latents,
                remembers=tuple((source.name, source.compression_ratio) for source in step.sources),
                tflops=1.0,
                is_there=(self.output / "segments" / step.key).is_file(),
                touches=tuple(s.name for s in made.steps if s.name in dependants(made, step.name) - {step.name}),
                key=step.key,
            )
            for step in made.steps
        )
        return PlannedTake(segments, made.timeline, 2 * sum(not each.is_there for each in segments), "the command")

    def work(self, file):
        planned = self.plan(file)

        def make(watch):
            (self.output / "segments").mkdir(exist_ok=True)
            for segment in planned.to_make:
                for _ in range(2):
                    self.before_step()
                    watch.step()
                (self.output / "segments" / segment.key).touch()
                watch.segment(segment.name)
            content = torch.full((3, 5, 16, 16), int(planned.segments[-1].key[:2], 16) / 255)
            write_video(self.output / "000.mp4", [content], fps=self.fps)
            (self.output / "manifest.jsonl").write_text('{"weights": "fake", "num_frames": 5, "prompt": "a hall"}\n')
            return self.output / "000.mp4"

        return make

    def preview(self, segment, before, path):
        path.parent.mkdir(exist_ok=True)
        write_video(path, [torch.zeros(3, 5, 16, 16)], fps=self.fps)
