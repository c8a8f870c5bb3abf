"""Read and write files: written whole or not at all, YAML and JSON read strictly, paths with variables.

Tables are read by `core/tables.py`.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError

if TYPE_CHECKING:
    from pandas import DataFrame

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@contextmanager
def whole_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A temporary file beside `path`, which is renamed to `path` only if the block raises nothing.

    Without `sync` that protects against a kill but not against a power cut, until `sync_file` is called.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if sync:
            sync_file(temporary)
        # mkstemp makes files private; these are ordinary outputs.
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as written:
        os.fsync(written.fileno())


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Strict JSON: NaN and infinity are errors, because other readers reject them."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path, table: "DataFrame") -> None:
    """Columns without the index; floats keep every digit."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_json(path: Path) -> Any:
    """Raises ValueError with file and line for content that is not JSON."""
    return parse_json(path.read_text(encoding="utf-8"), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """`read_json` of a file's content; `where` names the file in errors."""
    try:
        return json.loads(text)
    except ValueError as error:
        line = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{where}: {line}not valid JSON, {error}; run the stage that writes it again.") from None


def write_yaml(path: Path, content: Any) -> None:
    write_text(path, format_yaml(content))


def format_yaml(content: Any) -> str:
    """YAML in the order of the keys, lists of values on one line."""
    text = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = None
    writer.width = 120
    writer.sort_base_mapping_type_on_output = False
    writer.dump(content, text)
    return text.getvalue()


def read_yaml(path: Path) -> Any:
    """YAML 1.2 (`1e-3` is a number, `no` is a word); a key given twice is an error."""
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise ValueError(f"{path}: line {line}: a key occurs twice; keep one of them.") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"{path}: line {mark.line + 1}: not valid YAML, {error.problem}.") from None


def parse_value(text: str) -> Any:
    """The value of one `key=value` word, read as YAML."""
    return YAML(typ="safe", pure=True).load(text) if text else ""


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def expand(text: str, key: str) -> Path:
    """A path with each `$NAME` or `${NAME}` replaced by that environment variable; `key` names it in errors."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise ValueError(f"{key}: {text} needs the environment variable {name}; export {name}=/path first.")
        return os.environ[name]

    return Path(VARIABLE.sub(value, text)).expanduser()
