"""The command line of a config: every field of a dataclass becomes an option.

`learning_rate` is set by `--learning-rate 1e-5`, a field of a section by `--media.fps 2`, one
entry of a mapping, also a new one, by `--weights.answer 0.5`. The docstring below a field is its
`--help` text. Every command also has --config FILE, --print-config and --debug. What comes later
wins: defaults, then the file, then the command line.
"""

import argparse
import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, TypeVar

from triptych.errors import ConfigError
from triptych.settings import (
    Key,
    Labels,
    Tree,
    build,
    default_of,
    did_you_mean,
    load_yaml,
    parse_text,
    plain,
    section_type,
    union_members,
)

Config = TypeVar("Config")

_REQUIRED = dataclasses.MISSING


def argument(default: Any = _REQUIRED) -> Any:
    """A field that is given by its place on the command line (OUT in `triptych clips make OUT`)."""
    if default is _REQUIRED:
        return dataclasses.field(metadata={"positional": True})
    return dataclasses.field(default=default, metadata={"positional": True})


def several() -> Any:
    """A list that an option takes word by word: `--options "one, two" three`.

    One word is read as other lists are, `--options a,b`; the option may be given again.
    """
    return dataclasses.field(default=(), metadata={"several": True})


@dataclasses.dataclass(frozen=True)
class Request(Generic[Config]):
    """What the command line asks for: a config, and whether only to print it."""

    config: Config
    print_config: bool


def parse(
    cls: type[Config], argv: Sequence[str], *, prog: str, description: str
) -> Request[Config]:
    """Read a command's config from its words.

    Raises:
        ConfigError: an option or a key of the file is unknown, missing or has the wrong type.
        SystemExit: after `--help`.
    """
    parser = _Parser(prog, description)
    words = [_with_dashes(word) for word in argv]
    options = {option.flag: option for option in parser.add_config(cls, argv)}
    # Intermixed: otherwise argparse takes no word behind an option for a list that has begun.
    given, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        raise ConfigError(_unknown_word(unknown[0], parser))
    _give_last_words(given, [option for option in options.values() if option.positional])
    if len(given.config) > 1:
        raise ConfigError("--config is given twice; keep one")
    tree, labels = load_yaml(Path(given.config[0])) if given.config else ({}, {})
    for flag, value in vars(given).items():
        if flag in options:
            _say(tree, labels, options[flag], value)
    return Request(build(cls, tree, labels), given.print_config)


@dataclasses.dataclass(frozen=True)
class _Option:
    """One field, or one entry of a mapping field, as the command line sees it."""

    key: Key
    hint: Any
    default: Any
    help: str
    positional: bool = False
    several: bool = False
    section_help: str = ""
    is_entry: bool = False  # `default` then is the whole mapping's

    @property
    def flag(self) -> str:
        if self.positional:
            return self.key[-1].upper()
        return _flag(self.key)

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.hint) in (tuple, list)

    @property
    def is_mapping(self) -> bool:
        return not self.is_entry and _mapping_of(self.hint) is not None

    @property
    def has_entries(self) -> bool:
        return isinstance(self.default, dict)

    def entry(self, name: str) -> "_Option":
        """Of this mapping."""
        item_hint = typing.get_args(_mapping_of(self.hint))[1]
        return _Option((*self.key, name), item_hint, self.default, argparse.SUPPRESS, is_entry=True)


def _mapping_of(hint: Any) -> Any:
    return next((m for m in union_members(hint) if typing.get_origin(m) is dict), None)


def _flag(key: Key) -> str:
    return "--" + ".".join(key).replace("_", "-")


def _give_last_words(given: argparse.Namespace, positionals: Sequence[_Option]) -> None:
    """A list gets all words that are left; give those behind it theirs, from its end."""
    for index, option in enumerate(positionals):
        words = getattr(given, option.flag, [])
        if not option.is_list or not words:
            continue
        for single in reversed(positionals[index + 1 :]):
            if words:
                setattr(given, single.flag, words.pop())
        if not words:
            delattr(given, option.flag)


def _say(tree: Tree, labels: Labels, option: _Option, value: Any) -> None:
    """Enter what an option said into the tree, over what the file said."""
    match value:
        case [word] if option.several:
            value = parse_text(option.hint, word)
        case list():
            item_hint = typing.get_args(option.hint)[0]
            value = [parse_text(item_hint, word) for word in value]
        case str():
            value = parse_text(option.hint, value)
    node = tree
    for index, name in enumerate(option.key[:-1]):
        if node.get(name) is None:
            # A mapping starts from its default: --weights.answer changes one of its entries.
            is_mapping = option.is_entry and index == len(option.key) - 2
            node[name] = dict(option.default) if is_mapping and option.has_entries else {}
        node = node[name]
        if not isinstance(node, dict):
            return  # the file says something wrong here: `build` will name it
    node[option.key[-1]] = value
    labels[option.key] = option.flag


class _Parser(argparse.ArgumentParser):
    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            add_help=False,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=32
            ),
        )
        self.add_argument("-h", "--help", action="help", help="Show this help and stop")
        self.add_argument(
            "--config",
            metavar="FILE",
            action="append",
            default=[],
            help="YAML file with any of these settings; options given here win over it",
        )
        self.add_argument(
            "--print-config",
            action="store_true",
            help="Print the resolved settings as YAML, ready to be a --config file, and stop",
        )
        self.add_argument(
            "--debug",
            action="store_true",
            help="Show the traceback of an error; TRIPTYCH_DEBUG=1 does too",
        )

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))

    def add_config(self, cls: type, argv: Sequence[str]) -> Iterator[_Option]:
        groups: dict[Key, argparse._ArgumentGroup] = {}
        options = list(_options(cls))
        for option in (*options, *_named_entries(options, argv)):
            group: argparse._ActionsContainer = self
            section = option.key[:-1]
            if section:
                if section not in groups:
                    title = f"section '{'.'.join(section)}'"
                    groups[section] = self.add_argument_group(title, option.section_help or None)
                group = groups[section]
            _add(group, option)
            yield option


def _add(group: argparse._ActionsContainer, option: _Option) -> None:
    kwargs: dict[str, Any] = {"default": argparse.SUPPRESS, "help": option.help}
    if option.positional:
        group.add_argument(option.flag, nargs="*" if option.is_list else "?", **kwargs)
    elif option.several:
        metavar = ("A", "B")  # shown as "A [B ...]"
        group.add_argument(
            option.flag, dest=option.flag, nargs="+", action="extend", metavar=metavar, **kwargs
        )
    elif bool in union_members(option.hint):
        group.add_argument(
            option.flag, dest=option.flag, action=argparse.BooleanOptionalAction, **kwargs
        )
    else:
        group.add_argument(option.flag, dest=option.flag, metavar=_metavar(option.hint), **kwargs)


def _options(
    cls: type, section: Key = (), section_help: str = "", defaults: Any = None
) -> Iterator[_Option]:
    """The options of a config and of its sections, in the order of the fields.

    `defaults` is the instance that a section has by default, where it has one.
    """
    hints, docs = typing.get_type_hints(cls), field_docs(cls)
    for field in dataclasses.fields(cls):
        key, hint = (*section, field.name), hints[field.name]
        default = default_of(field) if defaults is None else getattr(defaults, field.name)
        doc = docs.get(field.name, "")
        nested = section_type(hint)
        if nested is not None:
            inner = default if isinstance(default, nested) else None
            yield from _options(nested, key, doc, inner)
            continue
        option = _Option(
            key,
            hint,
            default,
            help=_help(doc, default, _flag(key)),
            positional=field.metadata.get("positional", False),
            several=field.metadata.get("several", False),
            section_help=section_help,
        )
        yield option
        # For a mapping such as `weights`, one per entry; `--weights` alone is in the help.
        if option.is_mapping and option.has_entries:
            yield from map(option.entry, default)


def _named_entries(options: Sequence[_Option], argv: Sequence[str]) -> Iterator[_Option]:
    """Entries that only the command line names: `--rewards.brevity`, spelled as it is there."""
    mappings = {option.flag: option for option in options if option.is_mapping}
    known = {option.flag for option in options}
    for word in argv:
        field, _, name = word.partition("=")[0].rpartition(".")
        mapping = mappings.get(_with_dashes(field))
        if mapping and name and (entry := mapping.entry(name)).flag not in known:
            known.add(entry.flag)
            yield entry


def field_docs(cls: type) -> dict[str, str]:
    """What the help says of each field.

    It is the docstring below the field, or the field's entry in the "Attributes:" section of the
    class docstring. A field that nobody explained is left out.
    """
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        if dataclasses.is_dataclass(base):
            docs |= _attributes_section(base.__doc__ or "")
            docs |= _docs_below(ast.parse(textwrap.dedent(inspect.getsource(base))).body[0])
    return {name: " ".join(doc.split()) for name, doc in docs.items()}


def _docs_below(definition: ast.stmt) -> dict[str, str]:
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for field, below in itertools.pairwise(definition.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(doc))),
            ):
                docs[name] = doc
    return docs


def _attributes_section(doc: str) -> dict[str, str]:
    _, _, section = inspect.cleandoc(doc).partition("Attributes:\n")
    section = re.split(r"\n(?=\S)", section)[0]  # up to the next line that is not indented
    entry = re.compile(r"^    (\w+): (.*(?:\n     +.*)*)", re.MULTILINE)
    return dict(entry.findall(section))


def _help(doc: str, default: Any, flag: str) -> str:
    text = doc.replace("%", "%%").rstrip(".")
    if default is _REQUIRED:
        return f"{text} (required)".lstrip()
    shown = plain(default)
    if shown == {}:
        return f"{text} (or one alone: {flag}.NAME)"
    if shown is None or shown in ("", []):
        return text
    if isinstance(shown, dict):
        entries = ", ".join(f"{name}: {value}" for name, value in shown.items())
        return f"{text} (default: {entries}; or one alone: {flag}.{next(iter(shown))})"
    return f"{text} (default: {str(shown).replace('%', '%%')})"


def _metavar(hint: Any) -> str:
    names = []
    for member in union_members(hint):
        origin = typing.get_origin(member) or member
        if origin is Literal:
            names.append("{" + ",".join(map(str, typing.get_args(member))) + "}")
        elif isinstance(origin, type) and issubclass(origin, Enum):
            names.append("{" + ",".join(str(choice.value) for choice in origin) + "}")
        elif origin in (tuple, list):
            names.append("A,B,...")
        elif origin is dict:
            names.append("{NAME: VALUE}")
        elif origin is not type(None):
            names.append({str: "TEXT"}.get(origin, getattr(origin, "__name__", "VALUE").upper()))
    return "|".join(names)


def _with_dashes(word: str) -> str:
    """`--learning_rate=x` means `--learning-rate=x`: both spellings are common in the field."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _unknown_word(word: str, parser: argparse.ArgumentParser) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}; see {parser.prog} --help"
    name = word.partition("=")[0]
    close = did_you_mean(name, parser._option_string_actions)
    return f"unknown option {name}{close or f'; see {parser.prog} --help'}"
