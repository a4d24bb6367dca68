"""The rows of a comparison as Markdown, as LaTeX, as CSV, and as a picture with error bars."""

import csv
import io
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rocl import disk, runs
from rocl.comparison import FIELDS, Row, best, grouped
from rocl.errors import UserError
from rocl.pictures import BLUE, DARK, GREY, SIZE, WHITE, plain
from rocl.significance import MEASURES

COLUMNS = {
    "accuracy": "accuracy",
    "macro_precision": "precision",
    "macro_recall": "recall",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "hamming_loss": "Hamming",
    "tokens_per_word": "tokens a word",
}
AUTHORS = {
    "redv2_authors/accuracy": "accuracy",
    "redv2_authors/micro_f1": "micro-F1",
    "redv2_authors/hamming_loss": "Hamming",
    "redv2_authors/mse": "MSE of logits",
}
HOW = (
    "Points by which a system's mean is above that of the named one, runs paired by seed, with the 95 % interval and p "
    "of a bootstrap over test texts and, crossed with them, seeds; Holm: that p, for all comparisons of its table "
    "together; randomised: approximate randomisation of these very runs; McNemar: exact for each pair, of which the "
    "middle p times pairs / rank stands here (Rüger); smallest: the true difference that these texts and seeds show in "
    "80 % of cases, two-sided at 5 %. What is below that, or has Holm's p at 0.05 or above, is not shown."
)
HEAD = ["system", "seeds", "mean", "best", "median", "difference", "p", "Holm", "randomised", "McNemar", "smallest"]
CAPTION = (
    r"Test scores in per cent, mean $\pm$ standard deviation over seeds. $\dagger$: above, $\ddagger$: below %s, by "
    r"more than chance (bootstrap over texts and seeds, Holm, $p < 0.05$) and than what is found with 80\,\%% power. "
    "Quoted figures are not compared."
)
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
COLUMN = ("task", "corpus", "metric")  # of a LaTeX table
LINE, HALF, SCALE = 24, 320, 2  # pixels: a line and half of a picture; it is drawn larger, then made small


def markdown(rows: Sequence[Row]) -> str:
    """How to read it, then a table a task and metric; '' where nothing was compared."""
    parts = []
    for (scale, task, corpus, metric, against), table in grouped(rows, "scale", *COLUMN, "against").items():
        if metric in MEASURES and any("verdict" in row for row in table):
            title = f"## {task}: {COLUMNS[metric]} against {against} ({scale}, {corpus})"
            parts += [title, runs.markdown([*HEAD, "verdict"], map(cells, table))]
    return "\n\n".join([HOW, *parts]) if parts else ""


def cells(row: Row) -> list[str]:
    """A line of a table in Markdown."""
    spread = f" ± {points(row['deviation'])}" if "deviation" in row else ""
    interval = f" [{points(row['low'], '+')}, {points(row['high'], '+')}]" if "low" in row else ""
    p = [row.get(f"p_{name}") for name in ("bootstrap", "holm", "randomised", "mcnemar")]
    tests = ["" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}" for value in p]
    figures = [points(row["mean"]) + spread, points(row.get("best")), points(row.get("median"))]
    compared = [points(row.get("difference"), "+") + interval, *tests, points(row.get("smallest"))]
    seeds = row.get("seeds", "")
    seeds += f" ({row['pairs']} paired)" if seeds and row.get("pairs", 0) not in (0, len(seeds.split())) else ""
    verdict = row.get("verdict", "")
    verdict += ", of one seed" * (verdict in ("above", "below") and row["pairs"] == 1)
    return [titled(row), seeds, *figures, *compared, verdict]


def titled(row: Row) -> str:
    return f"{row['system']} (quoted: {row['quoted']})" if "quoted" in row else row["system"]


def points(share: float | None, sign: str = "") -> str:
    return "" if share is None else f"{100 * share:{sign}.1f}"


def comma_separated(rows: Sequence[Row]) -> str:
    """Plain numbers, scores as shares, a row a system, task and metric."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def latex(rows: Sequence[Row]) -> str:
    """A table a scale, for the package booktabs: systems down, tasks and metrics across, the best mean bold."""
    quoted = {(row["task"], row["metric"]) for row in rows if "quoted" in row}
    rows = [row for row in rows if row["metric"] in MEASURES or (row["task"], row["metric"]) in quoted]
    return "\n".join(latex_table(scale, table) for (scale,), table in grouped(rows, "scale").items())


def latex_table(scale: str, rows: Sequence[Row]) -> str:
    ours = grouped([row for row in rows if "quoted" not in row], *COLUMN)
    columns = {key: best(key[-1], [row["mean"] for row in column]) for key, column in ours.items()}
    blocks: dict[str, list[str]] = {"baselines": [], "systems": [], "quoted": []}
    for (name,), line in grouped([row | {"title": titled(row)} for row in rows], "title").items():
        found = {}
        for key, told in grouped(line, *COLUMN).items():  # one source may quote two figures
            found[key] = " / ".join(latex_cell(row, columns.get(key)) for row in told)
        kind = "quoted" if "quoted" in line[0] else "systems" if line[0]["seeds"] else "baselines"
        blocks[kind].append(" & ".join([escaped(name), *(found.get(key, "--") for key in columns)]) + r" \\")
    sizes = {task: sum(key[:2] == task for key in columns) for task in grouped(rows, *COLUMN[:2])}
    heads = [rf"\multicolumn{{{size}}}{{c}}{{{escaped(task)}}}" for (task, _), size in sizes.items() if size]
    names = [escaped((COLUMNS | AUTHORS).get(metric, metric)) for *_, metric in columns]
    against = ", ".join(sorted({row["against"] for row in rows if row["against"]})) or "no system"
    body = "\n\\midrule\n".join("\n".join(lines) for lines in blocks.values() if lines)
    top = [rf"\begin{{table}}\centering\begin{{tabular}}{{l{'r' * len(columns)}}}\toprule"]
    top += [" & ".join(row) + r" \\" for row in (["", *heads], ["system", *names])]
    end = [r"\bottomrule\end{tabular}", rf"\caption{{Scale {scale}. {CAPTION % escaped(against)}}}", r"\end{table}"]
    return "\n".join([*top, r"\midrule", body, *end])


def latex_cell(row: Row, highest: float | None) -> str:
    mean = points(row["mean"])
    value = rf"\textbf{{{mean}}}" if row["mean"] == highest and "quoted" not in row else mean
    spread = rf"{{\small$\,\pm\,${points(row['deviation'])}}}" if "deviation" in row else ""
    return value + spread + {"above": r"$^{\dagger}$", "below": r"$^{\ddagger}$"}.get(row.get("verdict"), "")


def escaped(text: str) -> str:
    return re.sub(r"[\\~^±&%$#_{}]", lambda found: SPECIAL.get(found[0], "\\" + found[0]), text)


def picture(rows: Sequence[Row], path: Path) -> None:
    """Every difference in points with its 95 % interval, as a PNG: a full dot where it is shown, else a hollow one."""
    rows = [row for row in rows if "low" in row]
    if not rows:
        raise UserError(f"--picture {path}: nothing was compared, so there is nothing to draw")
    lines: list[tuple[str, list[Row]]] = []  # a table's title has no rows
    for (scale, task, corpus, against), table in grouped(rows, "scale", "task", "corpus", "against").items():
        lines.append((f"{task} against {against} ({scale}, {corpus})", []))
        lines += [(system, both) for (system,), both in grouped(table, "system").items()]
    font = ImageFont.load_default(SCALE * SIZE)
    left = LINE + round(max(font.getlength(plain(name, 40)) for name, both in lines if both) / SCALE)
    most = max(0.01, *(abs(row[end]) for row in rows for end in ("low", "high")))
    step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if most <= 4 * step or step == 0.5)
    bottom = LINE * (len(lines) + 2)
    image = Image.new("RGB", (SCALE * (left + 2 * HALF), SCALE * (bottom + LINE)), WHITE)
    draw = ImageDraw.Draw(image)

    def place(metric: str, share: float, y: float) -> tuple[float, float]:
        return SCALE * (left + HALF * (MEASURES.index(metric) + 0.5 + 0.42 * share / most)), SCALE * y

    ticks = [number * step for number in range(-int(most / step), int(most / step) + 1)]
    for metric, tick in product(MEASURES, ticks):
        draw.line((place(metric, tick, LINE), place(metric, tick, bottom)), (222, 226, 232) if tick else GREY, SCALE)
        draw.text(place(metric, tick, bottom + LINE / 2), f"{100 * tick:+g}" if tick else "0", GREY, font, anchor="mm")
    for metric in MEASURES:
        draw.text(place(metric, 0, LINE / 2), f"{COLUMNS[metric]}, difference in points", GREY, font, anchor="mm")
    for number, (name, both) in enumerate(lines):
        y = LINE * (number + 1.5)
        if both:
            draw.text((SCALE * (left - LINE / 2), SCALE * y), plain(name, 40), DARK, font, anchor="rm")
        else:  # no line of the grid goes through a title
            draw.rectangle((0, SCALE * (y - LINE / 2), image.width, SCALE * (y + LINE / 2)), WHITE)
            draw.text((SCALE * LINE / 2, SCALE * y), plain(name, 99), BLUE, font, anchor="lm")
        for row in both:
            draw.line((place(row["metric"], row["low"], y), place(row["metric"], row["high"], y)), BLUE, 2 * SCALE)
            inside = WHITE if row["verdict"] == "not shown" else BLUE
            draw.circle(place(row["metric"], row["difference"], y), 5 * SCALE, inside, BLUE, 2 * SCALE)
    with disk.whole(path) as part:
        image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS).save(part, "png")
