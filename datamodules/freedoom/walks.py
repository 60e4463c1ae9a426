"""Steering: how the marine walks, leg by leg, from the ways that are free about it and where it has been.

A walk is a sequence of legs: wandering toward open and unseen space, a patrol (out, then back along its own trail to
places already seen), turning on the spot, standing still. Turning is in degrees a tic, positive to the left; speed is
in the game's own units (25 is walking).
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from datamodules.freedoom.level_map import BEARINGS, REACH, Surroundings
from datamodules.recording import Pose

_MAX_TURN = 3.0  # degrees a tic
_MAX_TURN_CHANGE = 1.2  # from frame to frame, so that the picture never jerks
_CONFINEMENT = 288.0  # a place this small, walked about in for so many frames, shuts the marine in
_CONFINEMENT_FRAMES = 48
_CELL = 128.0  # size of the cells in which visited places are counted


class Move(NamedTuple):
    """What to press during the next frame."""

    forward: float
    turn: float
    use: bool


@dataclass(kw_only=True)
class Walker:
    """Choose the next move from the surroundings and the pose, reproducibly from its generator."""

    rng: np.random.Generator
    tics_per_frame: int
    leg: str = "wander"
    _frames_left: int = 40
    _turn: float = 0.0  # of the last frame
    _degrees_left: float = 0.0  # of a turn on the spot, signed
    _drift: float = 0.0  # a slowly changing preferred bearing, so that wandering bends
    _speed: float = 22.0
    _trail: list[Pose] = field(default_factory=list)
    _recent: list[Pose] = field(default_factory=list)
    _visits: Counter[tuple[int, int]] = field(default_factory=Counter)
    _roamed: list[Pose] = field(default_factory=list)
    _confined: int = 0  # how often it was found to be shut in
    _drop_frames: int = 0

    @property
    def may_drop(self) -> bool:
        """Whether the marine may go down a step too high to return: only when shut in."""
        return self._drop_frames > 0

    @property
    def is_shut_in(self) -> bool:
        """Whether the marine found no way out of a small place, not even downward."""
        return self._confined > 1

    def step(self, *, around: Surroundings, pose: Pose) -> Move:
        """Return the next move."""
        self._frames_left -= 1
        if self._frames_left <= 0:
            self._next_leg()
        self._recent = [*self._recent[-6:], pose]
        self._visits[_cell(x=pose.x, y=pose.y)] += 1
        if self.leg == "stand":
            move = Move(forward=0.0, turn=0.0, use=False)
        elif self.leg == "turn":
            move = self._turn_on_spot()
        elif self.leg == "patrol back":
            move = self._follow_trail(pose=pose)
        else:
            self._watch_confinement(pose=pose)
            move = self._wander(around=around, pose=pose)
            if self.leg == "patrol out":
                self._trail.append(pose)
        turn = float(np.clip(move.turn, self._turn - _MAX_TURN_CHANGE, self._turn + _MAX_TURN_CHANGE))
        if self._degrees_left != 0.0:
            self._degrees_left -= turn * self.tics_per_frame
        self._turn = turn
        return move._replace(turn=turn)

    def _next_leg(self) -> None:
        if self.leg == "patrol out":
            self._begin(leg="patrol back", frames=2 * len(self._trail) + 40)
            return
        leg = str(self.rng.choice(["wander", "patrol out", "turn", "stand"], p=[0.38, 0.35, 0.16, 0.11]))
        if leg == "turn":
            degrees = float(self.rng.choice([120, 180, 360, 360])) * float(self.rng.choice([-1, 1]))
            self._begin(leg=leg, frames=int(abs(degrees) / (1.2 * self.tics_per_frame)) + 8)
            self._degrees_left = degrees
        elif leg == "stand":
            self._begin(leg=leg, frames=int(self.rng.integers(6, 18)))
        else:
            self._begin(leg=leg, frames=int(self.rng.integers(36, 110)))

    def _begin(self, *, leg: str, frames: int) -> None:
        self.leg = leg
        self._frames_left = frames
        self._degrees_left = 0.0
        self._recent = []
        self._speed = float(self.rng.uniform(16.0, 27.0))
        if leg == "patrol out":
            self._trail = []

    def _turn_on_spot(self) -> Move:
        turn = self._turn_toward(off=self._degrees_left, fastest=2.2)
        if abs(self._degrees_left) < 2.0:
            self._degrees_left = 0.0
            self._frames_left = min(self._frames_left, 3)
        return Move(forward=0.0, turn=turn, use=False)

    def _follow_trail(self, *, pose: Pose) -> Move:
        while self._trail and math.hypot(self._trail[-1].x - pose.x, self._trail[-1].y - pose.y) < 72.0:
            self._trail.pop()
        if not self._trail or self._is_stuck():
            self._frames_left = 0
            return Move(forward=0.0, turn=0.0, use=False)
        goal = self._trail[-1]
        off = _wrap(math.degrees(math.atan2(goal.y - pose.y, goal.x - pose.x)) - pose.angle)
        forward = self._speed * max(0.0, math.cos(math.radians(min(90.0, abs(off) * 1.5))))
        return Move(forward=forward, turn=self._turn_toward(off=off, fastest=_MAX_TURN), use=False)

    def _wander(self, *, around: Surroundings, pose: Pose) -> Move:
        self._drift = float(np.clip(0.92 * self._drift + self.rng.normal(0.0, 4.0), -30.0, 30.0))
        ahead = float(around.free[np.abs(BEARINGS) < 8.0].min())
        if self._is_stuck():  # something the plan does not show: a closed door, a monster, a lift
            self._degrees_left = float(self.rng.uniform(80, 170)) * float(self.rng.choice([-1, 1]))
            self._recent = []
            return Move(forward=0.0, turn=0.0, use=around.door_ahead)
        if self._degrees_left != 0.0:
            turn = self._turn_toward(off=self._degrees_left, fastest=_MAX_TURN)
            if abs(self._degrees_left) < 12.0:
                self._degrees_left = 0.0
            self._recent = []
            return Move(forward=0.0, turn=turn, use=False)
        target = self._best_bearing(around=around, pose=pose)
        if abs(target) > 75.0:
            self._degrees_left = target
        use = around.door_ahead and self._frames_left % 8 == 0
        forward = self._speed * float(np.clip((ahead - 30.0) / 90.0, 0.0, 1.0))
        forward *= float(np.clip(1.4 - abs(target) / 60.0, 0.25, 1.0))
        turn = float(np.clip(0.35 * target / self.tics_per_frame, -_MAX_TURN, _MAX_TURN))
        return Move(forward=forward, turn=turn, use=use)

    def _watch_confinement(self, *, pose: Pose) -> None:
        self._drop_frames -= 1
        self._roamed.append(pose)
        if len(self._roamed) < _CONFINEMENT_FRAMES:
            return
        xs, ys = [pose.x for pose in self._roamed], [pose.y for pose in self._roamed]
        if max(max(xs) - min(xs), max(ys) - min(ys)) < _CONFINEMENT:
            self._confined += 1
            self._drop_frames = 2 * _CONFINEMENT_FRAMES
        else:
            self._confined = 0
        self._roamed = []

    def _best_bearing(self, *, around: Surroundings, pose: Pose) -> float:
        """Weigh open space, distance from walls, places not yet seen and the trouble of turning."""
        angles = np.radians(BEARINGS + pose.angle)
        seen = np.zeros(len(BEARINGS))
        for share in (0.5, 1.0):
            reach = np.minimum(around.free, 320.0) * share
            x, y = pose.x + reach * np.cos(angles), pose.y + reach * np.sin(angles)
            seen += [min(self._visits[_cell(x=float(a), y=float(b))], 24) / 24 for a, b in zip(x, y, strict=True)]
        openness = np.minimum(around.free, REACH) / REACH
        tight = 1.0 - around.beside / 96.0
        off = np.abs(BEARINGS - self._drift) / 90.0
        return float(BEARINGS[np.argmax(openness - 0.35 * tight - 0.15 * seen - 0.45 * off)])

    def _turn_toward(self, *, off: float, fastest: float) -> float:
        # Half the way a frame at most: with turning changing slowly, a faster approach would overshoot.
        return float(np.clip(0.5 * off / self.tics_per_frame, -fastest, fastest))

    def _is_stuck(self) -> bool:
        if len(self._recent) < 7:
            return False
        first, last = self._recent[0], self._recent[-1]
        turned = abs(_wrap(last.angle - first.angle))
        return math.hypot(last.x - first.x, last.y - first.y) < 14.0 and turned < 30.0


def _cell(*, x: float, y: float) -> tuple[int, int]:
    return math.floor(x / _CELL), math.floor(y / _CELL)


def _wrap(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0
