"""`evaluate.py vbench=…`: videos laid out as VBench wants them, or a folder looked at as VBench would."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from longtake.cli.tables import show_faults
from longtake.cli.videos import folders_of, read_length


def lay_out_for_vbench(cfg: DictConfig) -> None:
    """Copies the videos as VBench wants them; without output=… checks how they lie.

    Args:
        cfg: composed config of evaluate.py.

    Raises:
        ValueError: videos=… is missing, the folder that was to be checked has a grave fault, or another call is at work
            in the output.
    """
    from rich.console import Console

    from longtake.cli.processes import alone_in
    from longtake.parallel import Mesh
    from longtake.reports.vbench.export import check_places, export
    from longtake.reports.vbench.preflight import machine_faults, preflight
    from longtake.reports.vbench.rules import make_rules

    if OmegaConf.is_missing(cfg, "videos"):
        raise ValueError("videos=… is missing: python evaluate.py videos=FOLDER output=FOLDER vbench=long_custom")
    rules = make_rules(
        mode=cfg.vbench,
        dimensions=list(cfg.vbench_dimensions),
        samples=cfg.vbench_samples,
        info=None if cfg.vbench_info is None else Path(cfg.vbench_info),
    )
    console, folders = Console(), folders_of(cfg)
    if len(folders) > 1:
        raise ValueError("vbench=… lays one folder out at a time: give videos=FOLDER")
    (videos,) = folders.values()
    if OmegaConf.is_missing(cfg, "output"):
        faults = [*preflight(videos, rules, read_length), *machine_faults(rules)]
        show_faults(faults)
        if grave := [fault for fault in faults if fault.grave]:
            raise ValueError(f"{len(grave)} faults in '{videos}' would make VBench drop videos or stop")
        console.print(f"VBench can score '{videos}' as it is", markup=False)
        return
    output = Path(cfg.output)
    check_places(videos, output)
    with alone_in(output, Mesh()):
        exported = export(videos, output, rules, read_length)
    show_faults([*exported.faults, *machine_faults(rules)])
    console.print(f"{len(exported.copied)} videos in {output / 'videos'}; then:", markup=False)
    for line in exported.commands:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
