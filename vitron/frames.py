"""Which frames of a video are looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def sample_numbers(numbers: Sequence[int], count: int, keep: Collection[int] = ()) -> tuple[int, ...]:
    """Pick frames spread evenly over a video, its first and last among them.

    Args:
        numbers: the frame numbers to pick from, increasing.
        count: how many at most; all of them if there are no more.
        keep: frame numbers that must be among them; each takes the place of the nearest one picked.

    Returns:
        Increasing frame numbers.

    Raises:
        ValueError: there is nothing to pick from, `count` is too small, or `keep` names a frame that is not there.
    """
    if not numbers or count < 1:
        raise ValueError(f"numbers, count: got {len(numbers)} numbers and {count}, expected at least one of each")
    wanted = sorted(set(keep))
    if len(wanted) > count or not set(wanted) <= set(numbers):
        raise ValueError(f"keep: got {wanted}, expected at most {count} numbers of the {len(numbers)} frames there are")
    if count >= len(numbers):
        return tuple(numbers)
    picked = [numbers[int(place)] for place in np.rint(np.linspace(0, len(numbers) - 1, count))]
    for number in wanted:
        if number not in picked:
            others = [index for index, other in enumerate(picked) if other not in wanted]
            picked[min(others, key=lambda index: abs(picked[index] - number))] = number
    return tuple(sorted(picked))
