"""Standard streams that are there and take every text, however the command was started."""

from __future__ import annotations

import io
import os
import sys


def prepare_streams() -> None:
    """Open the null device for each standard stream that is closed, and let no letter fail that an encoding lacks.

    Without the first, the next file that is opened would get the number of a closed stream, and what is printed (by C++ too) would go
    into that file. Without the second, `PYTHONIOENCODING=ascii` or an old locale would end a command at its first `–`.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
