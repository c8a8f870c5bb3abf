"""Read and write files: written whole or not at all, locked, YAML and JSON read strictly, paths with variables.

Tables are read by `core/tables.py`.
"""

import csv
import fcntl
import hashlib
import json
import os
import re
import reprlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

if TYPE_CHECKING:
    from pandas import DataFrame

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
MAX_VALUES = 100_000
"""Values that a YAML file may hold once its aliases are written out: nested ones grow exponentially."""
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""The marks that text in UTF-16 begins with."""
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80


ABANDONED_AFTER_S, GRACE_S = 3600.0, 1.0
"""Age of a temporary file without a lock: where locks do not work, and where its writer may be about to lock it."""


@contextmanager
def whole_file(path: Path, *, is_one_of_many: bool = False) -> Iterator[Path]:
    """A temporary file beside `path`, which is renamed to `path` only if the block raises nothing.

    What a kill left of an earlier attempt is removed. For one of many files of a folder its owner does that, and calls
    `sync_file`: until then a power cut may lose the file.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_one_of_many:
        remove_abandoned(path, path.suffix)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    temporary = Path(name)
    try:
        mark_in_use(handle)
        yield temporary
        if not is_one_of_many:
            sync_file(temporary)
        # mkstemp makes files private; these are ordinary outputs.
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which takes the place of `path` only if the block raises nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path, "")
    temporary, earlier = (Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")) for _ in range(2))
    handles = [os.open(folder, os.O_RDONLY) for folder in (temporary, earlier)]
    try:
        for handle in handles:
            mark_in_use(handle)
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            os.replace(path, earlier)
        os.replace(temporary, path)
    finally:
        for handle in handles:
            os.close(handle)
        for folder in (temporary, earlier):
            shutil.rmtree(folder, ignore_errors=True)


def mark_in_use(handle: int) -> None:
    """Lock a temporary file or folder; its writer's death, however it dies, ends the lock."""
    # Some network file systems have no locks: there the age decides.
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_abandoned(path: Path, suffix: str) -> None:
    """Remove temporary files and folders of `path` whose writers were killed."""
    # The random part is mkstemp's: nobody's own hidden file has such a name.
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(suffix)}")
    for entry in os.scandir(path.parent):
        if name.fullmatch(entry.name) and is_abandoned(Path(entry.path)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def is_abandoned(temporary: Path) -> bool:
    """Is the writer of a temporary file or folder dead? A living one holds a lock."""
    try:
        handle = os.open(temporary, os.O_RDONLY)
    except OSError:
        return False
    age_s = time.time() - os.fstat(handle).st_mtime
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return age_s > GRACE_S
    except BlockingIOError:
        return False
    except OSError:
        return age_s > ABANDONED_AFTER_S
    finally:
        os.close(handle)


def lock_for_process(path: Path) -> IO[bytes] | None:
    """Lock a file until it is closed or this process ends, however it ends; BlockingIOError if another has the lock.

    Processes forked from this one do not inherit it. None where the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("ab")
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        stream.close()
        raise BlockingIOError(f"{path} is locked by another process") from error
    except OSError:
        stream.close()
        return None
    return stream


def check_replaceable(path: Path) -> None:
    """Raise ValueError for a folder or a device, which a file must not replace; long work calls this first."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: expected a file to write, got a folder or a device; give another name.")


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
    # Python's writer leaves a carriage return inside a cell without quotes, where readers take it for the end of a row.
    cells = table.select_dtypes(exclude=["number", "bool", "datetime"])
    has_return = any("\r" in text for text in [*map(str, table.columns), *map(str, cells.to_numpy().ravel())])
    with whole_file(path) as temporary:
        quoting = csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL
        table.to_csv(temporary, index=False, lineterminator="\n", quoting=quoting)


def decode(content: bytes, where: str) -> str:
    """Text in UTF-8, or in UTF-16 with its mark; ValueError with line and byte for another encoding."""
    try:
        return content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = content[error.start : error.start + 1].hex() or "half a character"
        raise ValueError(f"{where}: line {line}: not text in UTF-8, got byte {found}; save it with UTF-8.") from None


def read_json(path: Path, *keys: str) -> Any:
    """Raises ValueError with file and line for content that is not JSON, or that is no object with these keys."""
    content = parse_json(path.read_bytes(), str(path))
    if keys and not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected an object with {', '.join(keys)}, got {shorten(content)}; "
            "run the stage that writes it again."
        )
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{path}: '{missing[0]}' is missing; run the stage that writes it again.")
    return content


def parse_json(text: str | bytes, where: str) -> Any:
    """`read_json` of a file's content; `where` names the file in errors."""
    try:
        return json.loads(decode(text, where) if isinstance(text, bytes) else text)
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno}: not valid JSON, {error}"
    except RecursionError:
        reason = "not valid JSON, it is nested too deep"
    raise ValueError(f"{where}: {reason}; run the stage that writes it again.")


def shorten(value: Any) -> str:
    """A value as code, cut where it is long or deep, for an error message of one line."""
    return SHORT.repr(value)


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
    return parse_yaml(decode(path.read_bytes(), str(path)), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """`read_yaml` of a file's content, or of one `key=value` word; `where` names it in errors."""
    if not text:
        return None
    try:
        content = YAML(typ="safe", pure=True).load(text)
        size = count_values(content, {})
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise ValueError(f"{where}: line {line}: a key occurs twice; keep one of them.") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}: {line}not valid YAML, {error.problem}; correct it.") from None
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        found = ascii(text[error.position])
        raise ValueError(f"{where}: line {line}: got {found}, a control character; remove it.") from None
    except RecursionError:
        raise ValueError(f"{where}: not valid YAML, it is nested too deep; correct it.") from None
    except Exception as error:
        # The parser raises what its own code happens to raise: an impossible date or number, an unknown directive.
        raise ValueError(f"{where}: not valid YAML, {one_line(error)}; correct it.") from None
    if size > MAX_VALUES:
        raise ValueError(f"{where}: its aliases (*name) stand for more than {MAX_VALUES:,} values; write them out.")
    return content


def count_values(content: Any, counted: dict[int, int]) -> int:
    """How many values YAML stands for with every alias written out; one that contains itself counts as too many.

    Raises `UnicodeEncodeError` for half of an escaped pair such as `\\ud83e`, which no file can hold.
    """
    if not isinstance(content, dict | list):
        str(content).encode()
        return 1
    if id(content) not in counted:
        counted[id(content)] = MAX_VALUES + 1
        parts = content.values() if isinstance(content, dict) else content
        counted[id(content)] = 1 + sum(count_values(part, counted) for part in parts)
    return counted[id(content)]


def one_line(error: BaseException) -> str:
    """The message of an error of another library on one line, or its kind."""
    return " ".join(str(error).split()) or type(error).__name__


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

    try:
        return Path(VARIABLE.sub(value, text)).expanduser()
    except RuntimeError:
        raise ValueError(f"{key}: {text} names no user of this machine after its ~; write the whole path.") from None
