"""What TensorBoard shows beside curves: confusion matrices, hyper-parameters, embeddings; without further packages."""

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


def confusion_picture(matrix: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """A confusion matrix (C, C) of counts as a picture (H, W, 3) uint8: gold labels down, predicted ones across.

    A cell's colour is its share of its row, so the diagonal shows recall; the number in it is the count. Names lose
    accents and commas, which Pillow's own font does not have, and what is beyond 24 letters.
    """
    font, small = ImageFont.load_default(SIZE), ImageFont.load_default(SIZE - 3)
    names = ["".join(c for c in unicodedata.normalize("NFKD", n) if not unicodedata.combining(c)) for n in labels]
    names = [name if len(name) <= 24 else name[:23] + "…" for name in names]
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


def upright(image: Image.Image, text: str, font: ImageFont.FreeTypeFont, ink: tuple, x: int, y: int) -> None:
    """Text that reads from below to above, centred on (x, y)."""
    strip = Image.new("L", (round(font.getlength(text)) + 2, 2 * SIZE), 0)
    ImageDraw.Draw(strip).text((1, SIZE), text, 255, font, anchor="lm")
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
    board: "SummaryWriter",
    vectors: np.ndarray,
    metadata: Sequence[Sequence[str]],
    header: Sequence[str],
    step: int,
) -> None:
    """Vectors (N, D) and a row of metadata for each, for TensorBoard's PROJECTOR page.

    They replace what was there. The plain files that page reads are written here, since `add_embedding` appends and
    goes through TensorFlow's file system where TensorFlow happens to be installed.
    """
    folder = Path(board.log_dir)
    rows = [[" ".join(str(cell).split()) for cell in row] for row in (header, *metadata)]
    np.savetxt(folder / "vectors.tsv", np.asarray(vectors), "%.6g", "\t")
    (folder / "metadata.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(
        f'embeddings {{ tensor_name: "step {step}" tensor_path: "vectors.tsv" metadata_path: "metadata.tsv" }}\n'
    )
