"""The settings of the five programs beside their groups: names, types and ranges of conf/train.yaml and its like.

A group's settings are the keyword arguments of its `_target_`; here stands what no constructor takes.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NotRequired, TypedDict

from annotated_types import Ge, Gt, Le, MinLen

from longtake.settings.kinds import AttentionKernel, Compilation, Later, Part, Precision, TrainingOptimizer, Video
from networks.ranges import (
    LARGEST,
    Count,
    Dtype,
    Folder,
    NotNegative,
    Positive,
    Rate,
    Seed,
    Share,
    Size,
    Sizes,
    Text,
    Texts,
)

Parts = Mapping[str, Part | None]
MatmulPrecision = Literal["highest", "high", "medium"]


class TrainSettings(TypedDict):
    """conf/train.yaml."""

    name: Text
    seed: Seed
    global_batch_size: Size
    clips_per_device: Size
    matmul_precision: MatmulPrecision
    resume: Text | None
    pretrained: Text | Mapping[str, Text | Annotated[Sequence[Text], MinLen(1)]] | None
    start: Mapping[str, Text] | None
    video: Video
    expected_loss: float | None
    prompts: Sequence[str]
    paths: Mapping[str, Text]
    datamodule: Part
    codec: Part
    text: Part
    control: Part | None
    backbone: NotRequired[Part | None]
    interface: NotRequired[Part | None]
    compressor: Part | None
    network: NotRequired[Part | None]
    objective: NotRequired[Part | None]
    sampler: NotRequired[Part | None]
    guidance: NotRequired[Part | None]
    rollout: NotRequired[Part | None]
    optimizer: Part
    scheduler: Part
    lightning_module: Part
    callbacks: Parts
    trainer: Part
    logger: NotRequired[Parts | None]


class RayCluster(TypedDict):
    """`ray` of conf/cache.yaml: how the work is laid out on a Ray cluster."""

    address: Text | None
    workers: Size
    cpus_per_worker: Positive
    gpus_per_worker: NotNegative


class CacheSettings(TrainSettings):
    """conf/cache.yaml: what a training is told, of which the cache needs the data, codec and text."""

    engine: Literal["plain", "ray"]
    ray: RayCluster


class GeneratePaths(TypedDict):
    """`paths` of generate.py, which has no run of its own."""

    root_dir: Text
    data_dir: Text
    weights_dir: Text
    run_dir: NotRequired[Later]


class ChangedNetwork(TypedDict):
    """`network` of generate.py: what may change after training; null as trained."""

    fusion: Literal["none", "early", "mid", "late", "all"] | None
    local_frames: Count | None
    windows_per_call: Count | None


class Base(TypedDict):
    """A pretrained model of weights, by another name or folder."""

    pretrained: Text | None


class SharedOut(TypedDict):
    """`parallel` of generate.py: processes by what they share out of one video."""

    chunks: Size
    guidance: Size


class ChangedCodec(Base):
    """`codec` of generate.py."""

    folder: Text | None
    tiling: bool | None


class GenerateSettings(TypedDict):
    """conf/generate.yaml."""

    weights: Text
    output: NotRequired[Folder]
    storyboard: Text | None
    given: Text | None
    given_end: Text | None
    given_frames: Size
    dry_run: bool
    prompt: str | Annotated[Sequence[str], MinLen(1)] | None
    negative_prompt: str | None
    num_videos: Size
    num_frames: Size
    height: Size | None
    width: Size | None
    seed: Seed
    num_inference_steps: Size | None
    guidance_scale: float | None
    compression_ratio: Rate | None
    network: ChangedNetwork
    matmul_precision: MatmulPrecision
    precision: Precision
    compile: Compilation
    attention: AttentionKernel
    offload: bool
    devices: Size
    parallel: SharedOut
    without: Literal["global_tokens", "memory", "control"] | None
    control_file: Text | None
    text: Base
    codec: ChangedCodec
    backbone: Base
    paths: GeneratePaths
    rollout: NotRequired[Part | None]
    sampler: NotRequired[Later]
    guidance: NotRequired[Later]


class StudioSettings(GenerateSettings):
    """conf/studio.yaml: what a generation is told, and where the page is."""

    host: Text
    port: Annotated[int, Ge(1), Le(65535)] | None
    browser: bool


class EvaluateSettings(TypedDict):
    """conf/evaluate.yaml."""

    videos: NotRequired[Text | Annotated[Sequence[Text], MinLen(1)] | Mapping[str, Text]]
    output: NotRequired[Folder]
    reference: Text | None
    poses: Text | None
    boundaries: Sequence[Count]
    short_side: Size
    device: Text
    devices: Size
    features: Part
    background_features: Part
    video_features: Part
    flow: Part
    metrics: Mapping[str, Part]
    vbench: Literal["standard", "custom", "long", "long_custom"] | None
    vbench_dimensions: Annotated[Sequence[str], MinLen(1)]
    vbench_samples: Size
    vbench_info: Text | None
    weights: Text | None
    cost: bool
    num_frames: Size
    height: Size
    width: Size
    text_tokens: Count
    num_inference_steps: Size
    guidance_passes: Size
    dtype: Dtype
    peak_tflops: Positive | None
    efficiency: Annotated[float, Gt(0), Le(1)]
    measured_tflops: Positive | None
    measure_speed: bool
    training_devices: Sequence[Size]
    training_precisions: Sequence[Precision]
    training_optimizer: TrainingOptimizer
    paths: Mapping[str, Text]
    codec: Part
    text: Part
    control: Part | None
    backbone: Part
    interface: NotRequired[Part | None]
    compressor: Part | None
    network: Part
    rollouts: Mapping[str, Part]


class Average(TypedDict):
    """`average` of export.py."""

    weights: Text | None
    share: Share


class ExportSettings(TypedDict):
    """conf/export.yaml."""

    run: Text
    output: Folder
    format: Literal["release", "lora", "merged"]
    dtype: Dtype
    decoder: bool
    average: Average
    text: Base
    codec: Base
    backbone: Base


class MakeTestbedSettings(TypedDict):
    """conf/testbed_make.yaml."""

    output: Folder
    mazes: Size
    size: Size
    frames: Size
    lengths: Sizes
    seed: Seed
    most_cells: Annotated[int, Ge(2), Le(LARGEST)]
    patterned: bool
    num_workers: Size


class AnswerTestbedSettings(TypedDict):
    """conf/testbed_answer.yaml."""

    weights: Text
    testbed: Text
    output: Folder
    ratios: Sequence[Rate]
    ladders: Sequence[Rate]
    pyramids: Sequence[Rate]
    methods: Texts | None
    kinds: Texts | None
    num_inference_steps: Size | None
    guidance_scales: Mapping[str, float] | None
    device: Text | None


class ScoreTestbedSettings(TypedDict):
    """conf/testbed_score.yaml."""

    testbed: Text
    predictions: Text
    output: Folder
    floor: Text | None
    ceiling: Text | None
    controls: Sequence[Text]
    tolerance: NotNegative
    kinds: Texts | None
    seed: Seed
