"""All benchmarks in their short form, one after the other, in less than ten minutes; a failure does not hide the rest.

python -m benchmarks

Each is a process of its own, and the last line is one JSON object with the last lines of all of them.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 570.0  # seconds, for all
SHARED = {"__main__", "made_up", "measure"}
SCRIPTS = sorted({file.stem for file in Path(__file__).parent.glob("*.py")} - SHARED)


def outcome(command: Sequence[str], limit: float) -> tuple[dict | None, str]:
    """The object on the last line that a command prints, None if it failed; and how it ended. Shows all it prints."""
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8", timeout=limit)
    except subprocess.TimeoutExpired as error:
        print((error.stdout or b"").decode("utf-8", "replace"))
        return None, f"stopped after {limit:.0f} s"
    print(done.stdout)
    if done.returncode:
        return None, f"ended with {done.returncode}"
    try:
        return json.loads(done.stdout.splitlines()[-1]), "done"
    except (IndexError, ValueError):
        return None, "its last line is no JSON"


def everything(
    commands: Mapping[str, Sequence[str]], limit: float = LIMIT
) -> tuple[dict[str, dict | None], list[list]]:
    """Of each command its last line, and a row for the table. A command gets half of the time that is left at most."""
    results, rows, end = {}, [], time.monotonic() + limit
    for name, command in commands.items():
        begun = time.monotonic()
        print(f"\n## {name}\n", flush=True)
        results[name], how = outcome(command, (end - begun) / 2)
        rows.append([name, f"{time.monotonic() - begun:.0f}", how])
    return results, rows


def main() -> int:
    from benchmarks import measure  # which imports torch, a second

    commands = {name: [sys.executable, "-m", f"benchmarks.{name}", "--short"] for name in SCRIPTS}
    results, rows = everything(commands)
    print("\n## all\n")
    print(measure.runs.markdown(["benchmark", "seconds", "how it ended"], rows))
    failed = [name for name, result in results.items() if result is None]
    print(json.dumps({"benchmark": "all", **measure.environment(), "failed": failed, "results": results}))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
