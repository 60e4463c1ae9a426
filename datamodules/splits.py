"""Which films are for training, validation and test: as the table has it, or drawn, over films and not over rows.

A film is known by what it is, so that a copy under another name stands on the same side.
"""

import logging
from collections import Counter
from collections.abc import Sequence

from datamodules.tables import SPLIT_NAMES, Entry, some
from longtake.video.places import shown

log = logging.getLogger("longtake")


def share_out(
    entries: list[Entry], validation_share: float, seed: int, films: Sequence[str] | None = None
) -> list[Entry]:
    """Gives every entry without a split one: a seeded share of the films becomes "validation", the rest "train".

    All entries of a film get the same, where the table says none for it. Where a table has no validation videos at all,
    that share is taken from its training videos. films: by what each entry's film is known; None: by its path.
    """
    import torch

    films = [entry.film for entry in entries] if films is None else films
    if not any(entry.split in ("", "validation") for entry in entries):
        entries = [entry._replace(split="") if entry.split == "train" else entry for entry in entries]
    split = {film: entry.split for film, entry in zip(films, entries, strict=True) if entry.split}
    missing = list(
        dict.fromkeys(film for film, entry in zip(films, entries, strict=True) if not entry.split and film not in split)
    )
    order = torch.randperm(len(missing), generator=torch.Generator().manual_seed(seed)).tolist()
    num_validation = min(max(round(validation_share * len(missing)), 1), len(missing) - 1) if len(missing) > 1 else 0
    chosen = {missing[place] for place in order[:num_validation]}
    return [
        entry if entry.split else entry._replace(split=split.get(film) or ("validation" if film in chosen else "train"))
        for film, entry in zip(films, entries, strict=True)
    ]


def fill_splits(
    usable: list[Entry], films: Sequence[int], listed: Sequence[Entry], seed: int
) -> list[tuple[Entry, int]]:
    """Entries and their films, where broken videos must leave neither training nor validation without any.

    A film changes sides for that, with all its entries; a single usable one is on both. Only where share_out drew the
    validation videos: a table's own are not ours to change.

    Args:
        usable: entries with their splits.
        films: key of each entry's film.
        listed: all entries, before share_out.
        seed: seed of the choice.

    Returns:
        Pairs of an entry, with the split that it has now, and its film.
    """
    import torch

    pairs = list(zip(usable, films, strict=True))
    if any(entry.split == "validation" for entry in listed):
        return pairs
    for lacking, other in (("validation", "train"), ("train", "validation")):
        have = list(dict.fromkeys(film for entry, film in pairs if entry.split == other))
        if not have or any(entry.split == lacking for entry in usable):
            continue
        chosen = have[int(torch.randint(len(have), (1,), generator=torch.Generator().manual_seed(seed)))]
        path = next(shown(entry.where) for entry, film in pairs if film == chosen)
        moved = [(entry._replace(split=lacking), film) for entry, film in pairs if film == chosen]
        if len(have) == 1:
            log.warning(f"{path} is the only video that can be used: validation sees what is trained on")
            return pairs + moved
        log.warning(f"no video drawn for {lacking} can be used: {path} is taken from {other} for it")
        return [pair for pair in pairs if pair[1] != chosen] + moved
    return pairs


def log_splits(listed: Sequence[Entry], shared: Sequence[Entry], films: Sequence[str] | None = None) -> None:
    """Says how many videos are in which split, how many were moved to validation, and which splits are unused.

    Copies of one film are said, and films that the table has in several splits. films: as `share_out` has it.
    """
    count = Counter(entry.split for entry in shared)
    moved = count["validation"] - sum(entry.split == "validation" for entry in listed)
    chosen = f" ({moved} drawn for validation by datamodule.validation_share)" if moved else ""
    log.info(f"videos: {', '.join(f'{number} {split}' for split, number in sorted(count.items()))}{chosen}")
    unknown = sorted(set(count) - set(SPLIT_NAMES))
    if unknown:
        log.warning(f"videos of the splits {', '.join(unknown)} are not used; known are {', '.join(SPLIT_NAMES)}")
    films = [entry.film for entry in shared] if films is None else films
    first: dict[str, int] = {}
    several: dict[str, list[int]] = {}  # entries of films that have more than one
    for number, film in enumerate(films):
        if (before := first.setdefault(film, number)) != number:
            several.setdefault(film, [before]).append(number)
    names = [list(dict.fromkeys(shared[number].film for number in numbers)) for numbers in several.values()]
    copies = [" = ".join(same) for same in names if len(same) > 1]
    if copies:
        log.warning(f"{len(copies)} films are there under several names, and count as one: {some(copies)}")
    splits = [{shared[number].split for number in numbers} & set(SPLIT_NAMES) for numbers in several.values()]
    both = [" = ".join(same) for same, found in zip(names, splits, strict=True) if len(found) > 1]
    if both:
        log.warning(f"{len(both)} films are in several splits, as the table has it: {some(both)}")
