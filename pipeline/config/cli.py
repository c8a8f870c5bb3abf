"""The command line that all stages share.

    python -m pipeline.<verb> --config 3d_poolformer.yaml [section.key=value …] [the verb's own options]

A verb is a function of a `Config`; its keyword-only parameters are its options, annotated with their help:

    def preprocess(config: Config, *, workers: Annotated[int, "processes"] = 2) -> None: ...

A verb with a parameter like `*revisions: Annotated[str, "git revisions"]` takes the words without `=` as these.

A verb may have another form that works on bare files, without a config: `cli.run(ingest, check=check_scans)` calls
`check_scans` when `--check` is given, whose keyword-only parameters again are its options.
"""

import argparse
import inspect
import logging
import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

from pipeline.config.load import resolve
from pipeline.config.reference import config_reference
from pipeline.core.errors import did_you_mean

Verb = Callable[..., int | None]


def run(verb: Verb, **forms: Verb) -> NoReturn:
    """Parse the command line, check the config, run the verb; bad input is one clear error and exit code 1."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("pipeline").setLevel(logging.INFO)
    arguments = parse(verb, forms)
    try:
        sys.exit(call(verb, forms, arguments) or 0)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {describe(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


def call(verb: Verb, forms: dict[str, Verb], arguments: argparse.Namespace) -> int | None:
    for flag, form in forms.items():
        if getattr(arguments, flag) is not None:
            return form(**chosen(form, arguments))
    words = [] if words_of(verb) is None else [word for word in arguments.overrides if "=" not in word]
    config = resolve(arguments.config, [word for word in arguments.overrides if word not in words])
    return verb(config, *words, **chosen(verb, arguments))


def describe(error: Exception) -> str:
    """The message; for the system's own errors, with the file they are about."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is missing; if an earlier stage writes it, 'dvc repro' does that first."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def parse(verb: Verb, forms: dict[str, Verb]) -> argparse.Namespace:
    name = verb.__name__
    parser = argparse.ArgumentParser(
        prog=f"python -m pipeline.{name}",
        description=inspect.getdoc(verb),
        epilog=config_reference(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="experiment, a path or a name in configs/ (default: first of params.yaml)"
    )
    words = words_of(verb)
    if words is not None:
        parser.add_argument("overrides", nargs="*", metavar=f"{words.name} section.key=value", help=help_of(words))
    else:
        parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="change a key of the config")
    declared: list[str] = []
    for function in (verb, *forms.values()):
        for option in options(function):
            if option.name not in declared:
                add(parser, option)
                declared.append(option.name)
    arguments, strangers = parser.parse_known_intermixed_args()
    for stranger in strangers:
        known = ["--help", "--config", *("--" + option.replace("_", "-") for option in declared)]
        parser.error(f"unknown option '{stranger}'.{did_you_mean(stranger, known)} Known: {', '.join(known)}")
    refuse_strangers(parser, verb, forms, arguments)
    return arguments


def options(function: Verb) -> list[inspect.Parameter]:
    """The keyword-only parameters of a verb."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def words_of(function: Verb) -> inspect.Parameter | None:
    """The parameter that takes bare words, if the verb has one."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return next((parameter for parameter in parameters if parameter.kind is parameter.VAR_POSITIONAL), None)


def help_of(parameter: inspect.Parameter) -> str | None:
    is_annotated = typing.get_origin(parameter.annotation) is Annotated
    return typing.get_args(parameter.annotation)[1] if is_annotated else None


def add(parser: argparse.ArgumentParser, option: inspect.Parameter) -> None:
    kind, text = option.annotation, help_of(option)
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    flag = "--" + option.name.replace("_", "-")
    if isinstance(kind, types.UnionType):
        kind = next(member for member in typing.get_args(kind) if member is not type(None))
    if kind is bool:
        parser.add_argument(flag, dest=option.name, action="store_true", default=None, help=text)
    elif typing.get_origin(kind) is list:
        parser.add_argument(flag, dest=option.name, nargs="+", type=typing.get_args(kind)[0], help=text)
    else:
        parser.add_argument(flag, dest=option.name, type=kind, help=text)


def refuse_strangers(
    parser: argparse.ArgumentParser, verb: Verb, forms: dict[str, Verb], arguments: argparse.Namespace
) -> None:
    """Options of one form are errors in another, and a form's required options must be there."""
    form = next((form for flag, form in forms.items() if getattr(arguments, flag) is not None), verb)
    own = {option.name for option in options(form)}
    given = {name for name, value in vars(arguments).items() if value is not None} - {"config", "overrides"}
    for name in sorted(given - own):
        parser.error(f"--{name.replace('_', '-')} does not go with this form of the command")
    if form is not verb and (arguments.config or arguments.overrides):
        parser.error("--config and overrides do not go with this form of the command")
    for option in options(form):
        if option.default is option.empty and option.name not in given:
            parser.error(f"--{option.name.replace('_', '-')} is required")


def chosen(function: Verb, arguments: argparse.Namespace) -> dict[str, Any]:
    """The given options of a function; the others keep its defaults."""
    names = [option.name for option in options(function)]
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
