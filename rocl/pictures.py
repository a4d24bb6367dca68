"""What TensorBoard shows beside its curves: confusion matrices, charts, hyper-parameters, embeddings; without further
packages."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:  # half a second that only training needs
    from torch.utils.tensorboard import SummaryWriter

CELL, GAP, SIZE = 64, 12, 15  # pixels: a cell's side, space around labels, letters' height
WHITE, DARK, GREY, BLUE = (255, 255, 255), (32, 36, 44), (110, 116, 128), (21, 82, 152)
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito: for every eye
WIDTH, HEIGHT = 560, 380  # pixels: a chart without its margins


def confusion_picture(matrix: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """A confusion matrix (C, C) of counts as a picture (H, W, 3) uint8: gold labels down, predicted ones across.

    A cell's colour is its share of its row, so the diagonal shows recall; the number in it is the count. Names lose
    accents and commas, which Pillow's own font does not have, and what is beyond 24 letters.
    """
    font, small = ImageFont.load_default(SIZE), ImageFont.load_default(SIZE - 3)
    names = [plain(name, 24) for name in labels]
    widest = round(max(font.getlength(name) for name in names))
    narrow = widest > CELL - 6  # a cell is too narrow for a name, so they stand upright
    left, top = widest + 2 * GAP + SIZE + 6, (widest if narrow else SIZE) + 2 * GAP + SIZE + 6
    side = CELL * len(names)
    image = Image.new("RGB", (left + side + GAP, top + side + GAP), WHITE)
    draw = ImageDraw.Draw(image)
    draw.text((left + side / 2, GAP), "predicted", GREY, small, anchor="mt")
    upright(image, "gold", small, GREY, GAP + SIZE // 2, top + side // 2)
    for place, name in enumerate(names):
        middle = place * CELL + CELL // 2
        draw.text((left - GAP, top + middle), name, DARK, font, anchor="rm")
        if narrow:
            upright(image, name, font, DARK, left + middle, top - GAP - round(font.getlength(name) / 2))
        else:
            draw.text((left + middle, top - GAP), name, DARK, font, anchor="ms")
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    for gold, predicted in np.ndindex(matrix.shape):
        share, count = float(shares[gold, predicted]), int(matrix[gold, predicted])
        x, y = left + predicted * CELL, top + gold * CELL
        colour = tuple(round(w + (b - w) * share) for w, b in zip(WHITE, BLUE, strict=True))
        draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), colour, (222, 226, 232))
        ink = WHITE if share > 0.5 else DARK if count else (190, 195, 204)
        draw.text((x + CELL / 2, y + CELL / 2), str(count), ink, font, anchor="mm")
    return np.asarray(image)


def plain(name: str, longest: int) -> str:
    """A name in letters that Pillow's own font has, cut to so many."""
    name = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return name if len(name) <= longest else name[: longest - 1] + "…"


def chart(
    curves: Mapping[str, np.ndarray], across: str, up: str, ticks: Mapping[float, str], diagonal: bool = False
) -> np.ndarray:
    """Curves of shares as a picture (H, W, 3) uint8, the names of the curves at the right.

    A curve is (P, 4): x, y in [0, 1], and the ends of y's interval, a bar where they differ from it. `ticks` name
    places on the x axis; the first and last place of curves and ticks are its ends. With `diagonal` y = x is drawn.
    """
    names, k = [plain(name, 40) for name in curves], 2  # drawn twice as large, then made small: lines without steps
    font = ImageFont.load_default(k * SIZE)
    places = np.concatenate([*(curve[:, 0] for curve in curves.values()), list(ticks)])
    low, high = float(places.min()), float(places.max())
    left, top, legend = k * 64, k * 20, round(max(font.getlength(name) for name in names)) + k * 52
    wide, tall = k * WIDTH, k * HEIGHT
    image = Image.new("RGB", (left + wide + legend + k * 24, top + tall + k * 64), WHITE)
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + wide * (x - low) / ((high - low) or 1), top + tall * (1 - y)

    for tenth in range(0, 11, 2):
        draw.line((at(low, tenth / 10), at(high, tenth / 10)), (222, 226, 232), k)
        draw.text((left - k * 8, at(low, tenth / 10)[1]), f"{tenth / 10:.1f}", GREY, font, anchor="rm")
    for place, name in ticks.items():
        draw.line((at(place, 0), at(place, 0.015)), GREY, k)
        draw.text((at(place, 0)[0], top + tall + k * 12), plain(name, 16), GREY, font, anchor="mt")
    draw.text((left + wide / 2, top + tall + k * 38), plain(across, 80), DARK, font, anchor="mt")
    upright(image, up, font, DARK, k * 14, top + tall // 2)
    if diagonal:
        draw.line((at(low, low), at(high, high)), GREY, k)
    for number, curve in enumerate(curves.values()):
        ink, y = LINES[number % len(LINES)], top + k * (12 + 24 * number)
        draw.line([at(*point[:2]) for point in curve], ink, 2 * k)
        for x, share, *ends in curve.tolist():
            draw.line((at(x, ends[0]), at(x, ends[1])), ink, k)
            draw.circle(at(x, share), 4 * k, ink)
        draw.line((left + wide + k * 16, y, left + wide + k * 40, y), ink, 3 * k)
        draw.text((left + wide + k * 48, y), names[number], DARK, font, anchor="lm")
    return np.asarray(image.resize((image.width // k, image.height // k), Image.Resampling.LANCZOS))


def upright(image: Image.Image, text: str, font: ImageFont.FreeTypeFont, ink: tuple, x: int, y: int) -> None:
    """Text that reads from below to above, centred on (x, y)."""
    strip = Image.new("L", (round(font.getlength(text)) + 2, round(2 * font.size)), 0)
    ImageDraw.Draw(strip).text((1, font.size), text, 255, font, anchor="lm")
    strip = strip.rotate(90, expand=True)
    image.paste(ink, (x - strip.width // 2, y - strip.height // 2), strip)


def hparams(board: "SummaryWriter", values: Mapping[str, object], metrics: Sequence[str]) -> None:
    """The run's hyper-parameters for TensorBoard's HPARAMS page, with the scalars logged under these names.

    Written into the run itself: `SummaryWriter.add_hparams` would make a second run within it.
    """
    from torch.utils.tensorboard.summary import hparams as summaries

    plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in values.items()}
    for summary in summaries(plain, dict.fromkeys(metrics, 0.0)):
        board.file_writer.add_summary(summary)


def projector(
    board: "SummaryWriter", vectors: np.ndarray, metadata: Sequence[Sequence[str]], header: Sequence[str], step: int
) -> None:
    """Vectors (N, D) and a row of metadata for each, for TensorBoard's PROJECTOR page.

    They replace what was there. The plain files that page reads are written here, since `add_embedding` appends and
    goes through TensorFlow's file system where TensorFlow happens to be installed.
    """
    folder = Path(board.log_dir)
    rows = [[" ".join(str(cell).split()) for cell in row] for row in (header, *metadata)]
    np.savetxt(folder / "vectors.tsv", vectors, "%.6g", "\t")
    (folder / "metadata.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(
        f'embeddings {{ tensor_name: "step {step}" tensor_path: "vectors.tsv" metadata_path: "metadata.tsv" }}\n'
    )
