"""The scenes that recognisers are trained on, written where they are not there."""

import json
import pathlib
import subprocess
import sys
from typing import Any


def written(options: Any) -> None:
    """Has `scenes.py` write the scenes, where they are not there.

    Args:
      options: scenes, the folder; side, data_dir, smoke.

    Raises:
      ValueError: Those that are there are of another side, or none can be written.
    """
    mark = pathlib.Path(options.scenes) / "scenes.json"
    side = json.loads(mark.read_text())["side"] if mark.exists() else options.side
    if side != options.side:
        raise ValueError(
            f"scenes must be of --side = {options.side} pixels, got {options.scenes} "
            f"with scenes of {side}; give --side={side}, or another --scenes"
        )
    if not mark.exists():
        script = str(pathlib.Path(__file__).parents[1].joinpath("scenes.py"))
        given = [f"--workdir={options.scenes}", f"--data_dir={options.data_dir}"]
        largest = max(1, options.side * 7 // 16)
        given += [f"--side={options.side}", f"--largest={largest}"]
        given += [f"--smallest={min(12, largest)}"]
        given += ["--smoke"] * options.smoke
        called = [sys.executable, script, *given]
        done = subprocess.run(called, check=False, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no word"]
            raise ValueError(f"scenes could not be written: {last[0]}")
