"""Lines of keys: documents are built together with the lines their keys stand on, then scanned."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from proctor.policy.lines import KeyPath, Lines

KEYS = st.text("ab.-_\"'\\ #=[]{}\n\té", max_size=5)
WORDS = st.text("ab\"'\\ #=[]{},\n\té", max_size=12)


def basic(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def quoted_key(key: str) -> str:
    if key and all(char.isascii() and (char.isalnum() or char in "-_") for char in key):
        return key
    return f"'{key}'" if not set(key) & set("'\n") else basic(key)


def string(text: str, form: int) -> str:
    if form == 1 and not set(text) & set("'\n"):
        return f"'{text}'"
    if form == 2 and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    if form == 3:
        body = text.replace("\\", "\\\\").replace('"""', '""\\"')
        return f'"""\n{body}"""'
    return basic(text)


@dataclass
class Writer:
    """Writes TOML and notes on which line every path begins."""

    text: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def put(self, text: str) -> None:
        self.text += text

    def note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def value(self, path: KeyPath, value: object, form: int) -> None:
        match value:
            case str():
                self.put(string(value, form))
            case dict():
                self.put("{ ")
                for index, (key, inner) in enumerate(value.items()):
                    self.put(", " if index else "")
                    self.note((*path, key))
                    self.put(f"{quoted_key(key)} = ")
                    self.value((*path, key), inner, form)
                self.put(" }")
            case list():
                self.put("[")
                for index, inner in enumerate(value):
                    self.put(",\n # ] = [\n  " if form % 2 else ", ") if index else self.put("\n" * form)
                    self.note((*path, index))
                    self.value((*path, index), inner, form)
                self.put(",\n]" if form % 2 and value else "]")
            case bool():
                self.put(str(value).lower())
            case _:
                self.put(str(value))


SCALARS = st.one_of(WORDS, st.integers(-9, 10**6), st.booleans(), st.just(1.5))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
TABLES = st.dictionaries(KEYS, st.tuples(VALUES, st.integers(0, 3), st.integers(0, 2)), max_size=3)


@st.composite
def documents(draw: st.DrawFn) -> Writer:
    writer = Writer()
    number: dict[str, int] = {}
    for _ in range(draw(st.integers(0, 4))):
        writer.put("\n" * draw(st.integers(0, 2)) + draw(st.sampled_from(["", "# [x]\n", "  "])))
        name = draw(KEYS)
        path: KeyPath
        if draw(st.booleans()):
            index = number.get(f"list {name}", 0)
            number[f"list {name}"] = index + 1
            path = (f"list {name}", index)
            writer.note(path[:1])
            writer.note(path)
            writer.put(f"[[{quoted_key(f'list {name}')}]]\n")
        else:
            index = number.get(name, 0)
            number[name] = index + 1
            path = ("table", name, f"n{index}")
            for length in (1, 2, 3):
                writer.note(path[:length])
            writer.put(f"[ table.{quoted_key(name)} . n{index} ] # comment\n")
        for key, (value, form, dots) in draw(TABLES).items():
            # The first part is unique, so that no two keys of a table collide.
            full = (f"k{key}", *("d" for _ in range(dots)))
            for length in range(1, len(full) + 1):
                writer.note((*path, *full[:length]))
            writer.put(".".join(quoted_key(part) for part in full) + " = ")
            writer.value((*path, *full), value, form)
            writer.put("\n")
    return writer


def paths(data: object, at: KeyPath = ()) -> set[KeyPath]:
    found: set[KeyPath] = {at} if at else set()
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        found |= paths(value, (*at, key))
    return found


@given(documents())
def test_every_key_is_on_the_line_it_was_written_on(document: Writer) -> None:
    data = tomllib.loads(document.text)
    lines = Lines(document.text)
    assert {path: lines.of(path) for path in document.lines} == document.lines
    assert lines.paths() == paths(data)


@given(documents())
def test_windows_line_ends_do_not_move_a_line(document: Writer) -> None:
    lines = Lines(document.text.replace("\n", "\r\n"))
    assert {path: lines.of(path) for path in document.lines} == document.lines


@given(st.text("[]{}=.\"'\\#,\n a1", max_size=60))
@example("a = '''''''''")
@example('a = """\n""x"" """""')
@example('a = [{b = "]"}, [\n1, # ]\n2]]\nc = 1')
@example("a.b.c = 1\na.b.d = 2")
def test_whatever_tomllib_accepts_is_found_in_full(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        Lines(text)  # never an error, even where the text is none
        return
    assert Lines(text).paths() == paths(data)


def test_a_missing_key_is_put_on_the_line_of_its_table() -> None:
    lines = Lines('[files]\nwrite = []\n\n[[authorise]]\nscope = "*"\n[[authorise]]\n')
    assert lines.of(("authorise", 0, "reason")) == 4
    assert lines.of(("authorise", 1, "reason")) == 6
    assert lines.of(("nowhere",)) == 1


def test_a_table_below_an_array_of_tables_belongs_to_its_newest() -> None:
    text = "[[a]]\n[a.b]\nc = 1\n[[a]]\n[a.b]\n'c d' = 2\n[[a.e]]\n[[a.e]]\nf = 3"
    lines = Lines(text)
    assert [lines.of(("a", 0, "b", "c")), lines.of(("a", 1, "b", "c d")), lines.of(("a", 1, "e", 1, "f"))] == [3, 6, 9]
    assert lines.paths() == paths(tomllib.loads(text))


def test_nesting_too_deep_to_scan_points_at_what_was_found_before() -> None:
    lines = Lines("ok = 1\n\ndeep = " + "[" * 5000 + "]" * 5000)
    assert lines.of(("ok",)) == 1
    assert lines.of(("deep", 0, 0)) == 3
