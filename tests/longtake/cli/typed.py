"""What makes the programs, as they are typed, end within seconds."""

SHORT = {
    "train.py": [
        "datamodule.make.levels=[E1M1,map01]",
        "datamodule.make.frames_per_walk=17",
        "datamodule.make.num_workers=1",
        "datamodule.num_frames=[9]",
        "datamodule.hop_frames=8",
        "datamodule.num_validation_clips=2",
        "text=null_text",
        "backbone.width=32",
        "backbone.depth=1",
        "backbone.num_heads=2",
        "interface.num_tokens=4",
        "interface.depth=1",
        "global_batch_size=2",
        "trainer.max_steps=2",
        "scheduler.total_steps=3",
        "lightning_module.validation_times=[0.5]",
        "callbacks.samples.num_frames=9",
        "callbacks.samples.num_videos=1",
        "sampler.num_inference_steps=1",
        "logger=csv",
    ],
    "generate.py": ["num_frames=17", "num_inference_steps=1", "prompt=a"],
    "evaluate.py": [],
    "export.py": [],
}
