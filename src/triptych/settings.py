"""Configs as frozen dataclasses: read from YAML, checked, and written back.

A *tree* is what a YAML file or the command line says about a config: nested mappings of plain
values. `build` turns a tree into the config; its errors name the file, line and key at fault. The
types are checked by pydantic in its strict JSON mode: "2" is not a number, `yes` is not text.
"""

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, Union

import yaml

from triptych.errors import ConfigError

Config = TypeVar("Config")

Tree: TypeAlias = dict[str, Any]
"""What was said about a config: nested mappings of plain values."""

Key: TypeAlias = tuple[str, ...]
"""The way to a value in a tree: ("media", "fps")."""

Labels: TypeAlias = dict[Key, str]
"""How an error message names a key: "recipe.yaml:3: 'media.fps'" or "--media.fps"."""


_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-5 is a number although it has no dot, `off` a word (YAML 1.2)."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_yaml(path: Path) -> tuple[Tree, Labels]:
    """Read a YAML file of `key: value` lines, and where each key stands.

    A line `extends: other.yaml` takes in another file, named from where this one stands; a key of
    this file replaces that of the other as a whole. A key given twice is an error, since YAML would
    drop the first value without a word.

    Raises:
        ConfigError: a file cannot be read, is not YAML, is not a mapping, or extends itself.
    """
    return _load_layers(path, ())


def _load_layers(path: Path, above: tuple[Path, ...]) -> tuple[Tree, Labels]:
    """A file with those that it extends; `above` are those that lead to it."""
    chain = (*above, path)
    if path.resolve() in [one.resolve() for one in above]:
        raise ConfigError(f"{path}: extends itself ({' -> '.join(map(str, chain))})")
    tree, labels = _load_file(path)
    if "extends" not in tree:
        return tree, labels
    label, other = labels.pop(("extends",)), tree.pop("extends")
    if not isinstance(other, str) or not other:
        raise ConfigError(f"{label} must be the name of a YAML file")
    below, below_labels = _load_layers(path.parent / other, chain)
    kept = {key: text for key, text in below_labels.items() if key[0] not in tree}
    return {**below, **tree}, {**kept, **labels}


def _load_file(path: Path) -> tuple[Tree, Labels]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file in UTF-8") from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: must hold settings as 'key: value' lines")
        labels: Labels = {}
        _locate(node, (), path, labels)
        return loader.construct_document(node), labels
    except yaml.MarkedYAMLError as error:
        where = f"{path}:{error.problem_mark.line + 1}" if error.problem_mark else str(path)
        raise ConfigError(f"{where}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error


def _locate(node: yaml.Node, key: Key, path: Path, labels: Labels) -> None:
    children: list[tuple[str, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(str(name.value), name, value) for name, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(index), item, item) for index, item in enumerate(node.value)]
    for name, start, value in children:
        child = (*key, name)
        label = f"{path}:{start.start_mark.line + 1}: '{'.'.join(child)}'"
        if child in labels:
            raise ConfigError(f"{label} is given twice; keep one")
        labels[child] = label
        _locate(value, child, path, labels)


def build(cls: type[Config], tree: Mapping[str, Any], labels: Labels | None = None) -> Config:
    """Make a config from what was said about it; defaults fill the rest.

    A section that names only some of its keys keeps the rest of the field's default; a mapping
    such as `weights` replaces the default as a whole.

    Raises:
        ConfigError: a key is unknown, a required one is missing, or a value has the wrong type.
    """
    from pydantic import TypeAdapter, ValidationError  # late: `triptych --help` stays quick

    labels = labels or {}
    filled = _check_keys(cls, tree, (), labels)
    try:
        return TypeAdapter(cls).validate_json(json.dumps(filled, default=str), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(_explain(first, labels)) from error


def load_config(cls: type[Config], path: Path) -> Config:
    """Read a config from a YAML file, such as the `config.yaml` of a run folder."""
    tree, labels = load_yaml(path)
    return build(cls, tree, labels)


def _check_keys(cls: type, tree: Mapping[str, Any], key: Key, labels: Labels) -> Tree:
    """Refuse unknown keys; fill sections from the defaults of the fields that hold them."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    filled: Tree = {}
    for name, value in tree.items():
        child = (*key, str(name))
        if name not in fields:
            known = did_you_mean(str(name), fields)
            raise ConfigError(f"{_label(child, labels)} is not a known setting{known}")
        section = section_type(hints[name])
        items = section_type(*typing.get_args(hints[name])[:1])
        if section and isinstance(value, Mapping):
            default = default_of(fields[name])
            base = plain(default) if isinstance(default, section) else {}
            value = base | _check_keys(section, value, child, labels)
        elif items and isinstance(value, list):
            value = [
                _check_keys(items, item, (*child, str(index)), labels)
                if isinstance(item, Mapping)
                else item
                for index, item in enumerate(value)
            ]
        filled[name] = value
    return filled


def _explain(error: Mapping[str, Any], labels: Labels) -> str:
    """One line of ours for one error of pydantic's."""
    key = tuple(str(part) for part in error["loc"])
    label, kind, message = _label(key, labels), error["type"], str(error["msg"])
    if kind == "missing":
        return f"{label} is required; give it on the command line or in the --config file"
    if kind == "value_error":  # raised by the config's own __post_init__
        cause = message.removeprefix("Value error, ")
        return f"{label}: {cause}" if key else cause
    section = "a mapping" if kind == "dict_type" else "a section of settings"
    wanted = message.removeprefix("Input ").replace("an object", section)
    given = error["input"]
    advice = ""
    if kind in ("enum", "literal_error") and isinstance(given, str):
        advice = did_you_mean(given, re.findall(r"'([^']*)'", message))
    elif kind == "string_type" and isinstance(given, bool | int | float):
        advice = "; put it in quotes"  # YAML reads yes, off and 007 as something else
    return f"{label} {wanted}, not {json.dumps(given, default=str)}{advice}"


def _label(key: Key, labels: Labels) -> str:
    """How to name a key: as it was given or, for a part of a value, after what it is part of."""
    dotted = ".".join(key)
    for length in range(len(key), 0, -1):
        if key[:length] in labels:
            label = labels[key[:length]]
            return label if length == len(key) else f"{label}: '{dotted}'"
    return f"'{dotted}'"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message that names the closest known word; empty if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def plain(value: Any) -> Any:
    """The same value in the types that YAML and JSON know.

    Raises:
        TypeError: it has no such form.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    if callable(getattr(value, "tolist", None)):  # arrays and scalars of NumPy and torch
        return plain(value.tolist())
    raise TypeError(f"a {type(value).__name__} cannot be written as YAML or JSON")


def to_yaml(config: Any) -> str:
    """A config as YAML, in the order of its fields; `load_config` reads it back unchanged."""
    text: str = yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
    return text


def parse_text(hint: Any, text: str) -> Any:
    """What a word of the command line stands for in a field of this type.

    Text, paths and choices are taken literally (so `--name 007` stays text), other types are read
    as YAML. `null` means None where that is allowed; `1,2` means the list `[1, 2]`.
    """
    members = union_members(hint)
    if types.NoneType in members and text in ("null", "none", "None"):
        return None
    origins = {typing.get_origin(member) or member for member in members}
    if origins - {types.NoneType} <= {str, Path}:
        return text
    if origins & {tuple, list} and not text.startswith("["):
        item = next((typing.get_args(m)[0] for m in members if typing.get_args(m)), str)
        return [parse_text(item, part.strip()) for part in text.split(",") if part.strip()]
    try:
        value = yaml.load(text, Loader=_Loader)  # a safe loader
    except yaml.YAMLError:
        return text  # for the type check to refuse, with the key's name
    if type(value) in members or (isinstance(value, int) and float in members):
        return value
    if isinstance(value, list | dict) and origins & {list, tuple, dict, Any}:
        return value
    return value if origins <= _READ_AS_YAML else text


_READ_AS_YAML = {bool, int, float, dict, list, tuple, types.NoneType, Any}


def union_members(hint: Any) -> tuple[Any, ...]:
    """The members of a union; any other type is its own only member."""
    is_union = typing.get_origin(hint) in (Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def section_type(hint: Any = None) -> type | None:
    """The dataclass that a field of this type (`X` or `X | None`) holds, if it holds one."""
    for member in union_members(hint):
        if isinstance(member, type) and dataclasses.is_dataclass(member):
            return member
    return None


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default, or `dataclasses.MISSING` where it must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
