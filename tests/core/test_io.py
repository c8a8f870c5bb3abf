"""Files that are damaged or of another shape end in one line with file, place and value; no device is replaced."""

from pathlib import Path

import pytest

from pipeline.core.io import parse_yaml, read_json, read_yaml, write_text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "line 1: not valid YAML, expected the node content"),
        ("a: 1\nb: \x01", "line 2: got '.x01', a control character"),
        ("when: 2020-13-45", "month must be in 1..12"),
        ("a: &a [*a]", "aliases .* more than 100,000 values"),
        ("[" * 5000, "nested too deep"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: 1\na: 2", "line 2: a key occurs twice"),
        ('a: "\\ud83e"', "surrogates not allowed"),
    ],
)
def test_broken_yaml_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'a.yaml'}: ") and "\n" not in str(caught.value)


def test_nested_aliases_are_refused_before_they_are_written_out() -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(ValueError, match="aliases"):
        parse_yaml("\n".join(lines), "a.yaml")
    assert parse_yaml("a: &a [1, 2]\nb: *a", "a.yaml") == {"a": [1, 2], "b": [1, 2]}


def test_yaml_in_utf_16_is_read_and_in_latin_1_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("name: Müller".encode("utf-16"))
    assert read_yaml(tmp_path / "a.yaml") == {"name": "Müller"}
    (tmp_path / "a.yaml").write_bytes("a: 1\nname: Müller".encode("latin-1"))
    with pytest.raises(ValueError, match="line 2: not text in UTF-8, got byte fc"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "line 1: not valid JSON"),
        (b"[" * 100_000, "nested too deep"),
        (b"[1, 2]", r"expected an object with classes, got \[1, 2\]"),
        (b'{"task": "auto"}', "'classes' is missing"),
        (b"\xff", "line 1: not text in UTF-8"),
        (b"", "not valid JSON"),
    ],
)
def test_json_of_another_shape_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_json(tmp_path / "a.json", "classes")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: ") and "\n" not in str(caught.value)


def test_a_device_or_folder_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    for path in (Path("/dev/null"), tmp_path):
        with pytest.raises(ValueError, match="expected a file to write"):
            write_text(path, "text")
    assert not Path("/dev/null").is_file() and tmp_path.is_dir()
