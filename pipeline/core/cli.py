"""The command line that all stages and tools share.

    python -m pipeline.<verb> [sub-command] [words] [section.key=value …] [--option value …]

The signature of a function is its command line, and `Annotated[type, "help"]` describes a parameter:

    def train(config: Config) -> None: ...
    def check_scans(paths: Annotated[list[Path], "files or folders"], *, json: bool = False) -> int: ...

A first parameter whose type is a schema is read from `--config FILE` and `section.key=value`. The other positional
parameters take words: a `list` or a parameter like `*revisions` takes all of them. Keyword-only parameters are options.
`cli.run(train, check=check_training)` adds the sub-command `check`, which has a command line of its own.
"""

import argparse
import inspect
import logging
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Protocol, Self

from pipeline.core.errors import did_you_mean
from pipeline.core.progress import log_to_file, log_to_stderr

Function = Callable[..., int | None]
LOG_FOLDER = "logs"
"""Below the root folder of a config; one file per verb."""


class Schema(Protocol):
    """What the class of a config offers to the command line."""

    root: Path

    @classmethod
    def from_command_line(cls, file: str | None, overrides: Sequence[str]) -> Self:
        """The checked config of a file, changed by `section.key=value` words; raises ValueError or OSError."""
        ...

    @classmethod
    def reference(cls) -> str:
        """A line per key with type, default and meaning, for `--help`."""
        ...


def run(function: Function, **subcommands: Function) -> NoReturn:
    """Run the command line of this process and exit.

    Exit codes: 0, or what the function returns; 1 after one clear error; 2 for a wrong command line; 130 for Ctrl-C.
    """
    sys.exit(execute(function, subcommands, sys.argv[1:]))


def execute(function: Function, subcommands: dict[str, Function], words: Sequence[str]) -> int:
    """Parse `words`, check the config, call the function and return the exit code."""
    log_to_stderr()
    command, words = choose_command(function, subcommands, words)
    arguments = parse(command, words)
    try:
        return call(command, arguments) or 0
    except (ValueError, OSError) as error:
        logging.getLogger(__name__).error("error: %s", describe(error))
        return 1
    except KeyboardInterrupt:
        return 130


def describe(error: Exception) -> str:
    """The message; for an error of the operating system, with its file."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is missing; if an earlier stage writes it, 'dvc repro' does that first."
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        return f"{error.filename}: expected a folder, got a file or a device; give another name."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


@dataclass(frozen=True)
class Argument:
    """A parameter of a function as the command line shows it."""

    name: str
    type: Any
    """Of one value."""
    takes_many: bool
    help: str | None
    is_required: bool
    is_variadic: bool
    """Declared as `*name`."""

    @classmethod
    def from_parameter(cls, parameter: inspect.Parameter) -> Self:
        """Raises TypeError for a parameter without annotation."""
        kind, help_text = parameter.annotation, None
        if typing.get_origin(kind) is Annotated:
            kind, help_text = typing.get_args(kind)[:2]
        if isinstance(kind, types.UnionType):
            kind = next(member for member in typing.get_args(kind) if member is not type(None))
        is_list, is_variadic = typing.get_origin(kind) is list, parameter.kind is parameter.VAR_POSITIONAL
        return cls(
            name=parameter.name,
            type=typing.get_args(kind)[0] if is_list else kind,
            takes_many=is_list or is_variadic,
            help=help_text,
            is_required=parameter.default is parameter.empty and not is_variadic,
            is_variadic=is_variadic,
        )

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def metavar(self) -> str:
        return self.name.upper() + (" …" if self.takes_many else "")

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a `Literal`, else none."""
        return typing.get_args(self.type) if typing.get_origin(self.type) is Literal else ()

    def convert(self, word: str) -> Any:
        """Raises ValueError for a word that is no value of the type."""
        if not self.choices:
            return self.type(word)
        if word not in self.choices:
            known = ", ".join(self.choices)
            raise ValueError(f"unknown {self.name} '{word}'.{did_you_mean(word, self.choices)} Known: {known}.")
        return word


@dataclass(frozen=True)
class Command:
    """A function with what its signature asks of the command line."""

    name: str
    function: Function
    schema: type[Schema] | None
    positionals: tuple[Argument, ...]
    options: tuple[Argument, ...]
    subcommands: dict[str, Function]

    @classmethod
    def from_function(cls, function: Function, name: str, subcommands: dict[str, Function]) -> Self:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())
        has_schema = bool(parameters) and hasattr(parameters[0].annotation, "from_command_line")
        schema = parameters.pop(0).annotation if has_schema else None
        positionals = [parameter for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
        options = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        return cls(
            name=name,
            function=function,
            schema=schema,
            positionals=tuple(map(Argument.from_parameter, positionals)),
            options=tuple(map(Argument.from_parameter, options)),
            subcommands=subcommands,
        )


def choose_command(
    function: Function, subcommands: dict[str, Function], words: Sequence[str]
) -> tuple[Command, Sequence[str]]:
    """The sub-command that the first word names, else the function itself, and the words that are left for it."""
    name = function.__name__
    if words and words[0] in subcommands:
        return Command.from_function(subcommands[words[0]], f"{name} {words[0]}", {}), words[1:]
    return Command.from_function(function, name, subcommands), words


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line; a wrong one ends the process with exit code 2."""
    parser = make_parser(command, with_reference=bool({"-h", "--help"} & set(words)))
    arguments, unknown = parser.parse_known_intermixed_args(list(words))
    if unknown:
        known = ["--help", *(["--config"] if command.schema else []), *(option.flag for option in command.options)]
        nearest = did_you_mean(unknown[0], [*known, *command.subcommands])
        parser.error(f"unknown option '{unknown[0]}'.{nearest} Known: {', '.join(known)}")
    is_override = command.schema is not None
    arguments.overrides = [word for word in arguments.words if is_override and "=" in word]
    try:
        arguments.positionals = assign(command, [word for word in arguments.words if word not in arguments.overrides])
    except ValueError as error:
        parser.error(str(error))
    return arguments


def make_parser(command: Command, with_reference: bool) -> argparse.ArgumentParser:
    """The parser of the options; all other words go to `words`, see `assign`."""
    shown = [f"{argument.metavar}" for argument in command.positionals]
    shown += ["[section.key=value …]"] if command.schema else []
    parser = argparse.ArgumentParser(
        prog=f"python -m pipeline.{command.name}",
        usage=" ".join(["%(prog)s", *shown, "[options]"]),
        description=describe_words(command),
        epilog=command.schema.reference() if command.schema and with_reference else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    if command.schema:
        text = "experiment, a path or a name in configs/ (default: first of params.yaml)"
        parser.add_argument("--config", metavar="FILE", help=text)
    for option in command.options:
        add_option(parser, option)
    return parser


def describe_words(command: Command) -> str:
    """The docstring, then the words that the command takes and its sub-commands, a line each."""
    words = [(argument.metavar, argument.help or "") for argument in command.positionals]
    words += [("section.key=value", "change a key of the config")] if command.schema else []
    sections = [inspect.getdoc(command.function) or "", table("words:", words)]
    functions = command.subcommands.items()
    sections.append(
        table(
            "sub-commands:", [(name, (inspect.getdoc(function) or "").split("\n")[0]) for name, function in functions]
        )
    )
    return "\n\n".join(section for section in sections if section)


def table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Names with their meaning, in argparse's layout; nothing without rows."""
    return "\n".join([title, *(f"  {name:<20}  {text}" for name, text in rows)]) if rows else ""


def add_option(parser: argparse.ArgumentParser, option: Argument) -> None:
    if option.type is bool:
        parser.add_argument(option.flag, dest=option.name, action="store_true", default=None, help=option.help)
        return
    how: dict[str, Any] = {"choices": option.choices} if option.choices else {"type": option.type}
    if typing.get_origin(option.type) is tuple:
        types_of_values = typing.get_args(option.type)
        how = {"type": types_of_values[0], "nargs": len(types_of_values)}
    elif option.takes_many:
        how["nargs"] = "+"
    parser.add_argument(option.flag, dest=option.name, required=option.is_required, help=option.help, **how)


def assign(command: Command, words: Sequence[str]) -> list[Any]:
    """The values of the positional parameters; raises ValueError for words that are missing, wrong or left over."""
    values: list[Any] = []
    left = list(words)
    for argument in command.positionals:
        taken, left = (left, []) if argument.takes_many else (left[:1], left[1:])
        converted = [argument.convert(word) for word in taken]
        if argument.is_variadic:
            values += converted
        elif taken:
            values.append(converted if argument.takes_many else converted[0])
        elif argument.is_required:
            raise ValueError(f"{argument.metavar} is missing{': ' + argument.help if argument.help else ''}")
    if left:
        nearest = did_you_mean(left[0], command.subcommands)
        subcommands = (
            f" Sub-commands, which come first: {', '.join(command.subcommands)}." if command.subcommands else ""
        )
        expected = "expected section.key=value" if command.schema else "expected no further word"
        raise ValueError(f"'{left[0]}' is unexpected; {expected}.{nearest}{subcommands}")
    return values


def call(command: Command, arguments: argparse.Namespace) -> int | None:
    """Call the function with its config and the values that were given; the others keep their defaults."""
    options = {option.name: getattr(arguments, option.name) for option in command.options}
    given = {name: value for name, value in options.items() if value is not None}
    values = arguments.positionals
    if command.schema is not None:
        config = command.schema.from_command_line(arguments.config, arguments.overrides)
        log_to_file(config.root / LOG_FOLDER / f"{command.name.split()[0]}.log")
        values = [config, *values]
    return command.function(*values, **given)
