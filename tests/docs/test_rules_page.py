"""The tables of docs/rules.md are made from the code. PROCTOR_WRITE_DOCS=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

from proctor.detectors.fields import FIELDS, LOGSOURCES, Logsource, kind_of
from tests.rules.cases import FILES, documents, slug

PAGE = Path(__file__).parents[2] / "docs/rules.md"


def shipped() -> str:
    rows = ["| rule | level | maturity | what fires it |", "|---|---|---|---|"]
    for path in FILES:
        told = [one for one in documents(path) if "what" in one]
        rows += [f"| {slug(path)} | {one['level']} | {one['maturity']} | {one['what']} |" for one in told]
    return "\n".join(rows)


ARGUMENTS = {f"a{number}" for number in range(64)}


def _arguments(source: Logsource) -> str:
    return ", a0 to a63" if source.fields() >= ARGUMENTS else ""


def mapping() -> str:
    rows = ["| Sigma log source | event kinds | fields |", "|---|---|---|"]
    for name, source in LOGSOURCES.items():
        kinds = ", ".join(dict.fromkeys(map(kind_of, source.kinds)))
        rows.append(f"| {name} | {kinds} | {', '.join(sorted(source.fields() - ARGUMENTS))}{_arguments(source)} |")
    return "\n".join(rows)


def test_the_tables_are_the_codes() -> None:
    text = PAGE.read_text()
    made = text
    for name, table in (("shipped", shipped()), ("mapping", mapping())):
        before, _, rest = made.partition(f"<!-- {name} -->\n")
        after = rest.partition("\n<!-- end -->")[2]
        made = f"{before}<!-- {name} -->\n{table}\n<!-- end -->{after}"
    if os.environ.get("PROCTOR_WRITE_DOCS"):
        PAGE.write_text(made)
    assert made == text


def test_every_kind_that_is_mapped_has_fields() -> None:
    assert all(kind in FIELDS for source in LOGSOURCES.values() for kind in source.kinds)
