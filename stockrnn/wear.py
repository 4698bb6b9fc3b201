"""Whether a process holds so many compiled programs that another should take its place."""

from __future__ import annotations

import contextlib
import math
import os
import time
from pathlib import Path

WORN = 0.5
"""Share of the memory maps that the kernel grants a process (`vm.max_map_count`) beyond which it gets no more units: TensorFlow never
frees a compiled program, each takes some 250 maps, and a process without maps left aborts."""
LOOK_S = 5.0
"""How often this process counts its maps: that takes 4 ms, and none compiles more than a program or two a second."""


def is_worn(pid: int) -> bool:
    """Whether a process has more than its share of memory maps. False where the system has no such limit, and for one that ended."""
    with contextlib.suppress(OSError):
        limit = int(Path("/proc/sys/vm/max_map_count").read_text("ascii"))
        return Path(f"/proc/{pid}/maps").read_bytes().count(b"\n") > WORN * limit
    return False


class Wear:
    """Whether this process is worn; `full` once it was found to be."""

    def __init__(self) -> None:
        """Look when first asked."""
        self.full, self._looked = False, -math.inf

    def look(self) -> bool:
        """Look again, where the last time was long ago."""
        now = time.monotonic()
        if not self.full and now - self._looked > LOOK_S:
            self._looked, self.full = now, is_worn(os.getpid())
        return self.full
