"""Writes the README's list of files, with the first sentence and the line count of each.

python tests/file_map.py
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BETWEEN = re.compile(r"(<!-- files: .*?-->\n)(.*?)(<!-- end of files -->)", re.DOTALL)


def file_map() -> str:
    """A table of the source files in their folders."""
    lines = ["| file | lines | what it is |", "|---|---:|---|"]
    for folder in ("rocl", "rocl/models", "rocl/losses", "rocl/data", "rocl/data/corpora", "experiments", "benchmarks"):
        for path in sorted((ROOT / folder).glob("*.py")):
            if text := ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
                name = path.relative_to(ROOT).as_posix()
                sentence = re.split(r"(?<=[.:])\s", " ".join(text.split()))[0].rstrip(".:")
                lines.append(
                    f"| [{name}]({name}) | {len(path.read_text(encoding='utf-8').splitlines())} | {sentence} |"
                )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    README.write_text(BETWEEN.sub(lambda match: match[1] + file_map() + match[3], README.read_text("utf-8")), "utf-8")
