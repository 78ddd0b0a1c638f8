"""Parts of a model by name: what is frozen, and what gets an adapter.

    vision, audio            a media encoder, by its short name
    text                     the text decoder
    layers.0-3               those of its layers
    q_proj, embed_tokens     every module of the text decoder with this name
    audio.layers.0           the same, in a media encoder
    lm_head                  what stands outside of them all
    model.visual.blocks.3    the whole path in the thinker

A name is words joined by dots. A module goes by it where its path ends in these words; `0-3` is
each number from 0 to 3, and `*` any letters. What stands below a module belongs to it.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn
from transformers import PreTrainedModel

from triptych.errors import ModelError
from triptych.models.families import Family
from triptych.settings import did_you_mean

TEXT = "text"
"""Short name of the text decoder."""


def named_modules(
    thinker: PreTrainedModel, family: Family, names: Sequence[str]
) -> dict[str, nn.Module]:
    """The modules that go by any of the names, by their path in the thinker.

    Raises:
        ModelError: no module goes by a name; the message says what there is.
    """
    found: dict[str, nn.Module] = {}
    for name in names:
        here = {
            path: module
            for path, module in thinker.named_modules()
            if path and _goes_by(path, name, _roots(family))
        }
        if not here:
            raise ModelError(_unknown(name, thinker, family))
        found |= _without_towers(here, family) if name == TEXT else here
    return found


def linear_layers(
    thinker: PreTrainedModel, family: Family, names: Sequence[str]
) -> dict[str, nn.Linear]:
    """The linear layers at or below the modules that go by any of the names, by their path.

    Raises:
        ModelError: no module goes by a name, or it holds no linear layer.
    """
    linear: dict[str, nn.Linear] = {}
    for name in names:
        here = {
            f"{path}.{below}".rstrip("."): layer
            for path, module in named_modules(thinker, family, [name]).items()
            for below, layer in module.named_modules()
            if isinstance(layer, nn.Linear)
        }
        if not here:
            raise ModelError(f"{family.name}: {name!r} holds no linear layer")
        linear |= here
    return linear


def _roots(family: Family) -> Mapping[str, str]:
    """Short names and paths; towers come first, since the text decoder may hold them."""
    return {**family.towers, TEXT: family.decoder}


def _without_towers(modules: Mapping[str, nn.Module], family: Family) -> dict[str, nn.Module]:
    """The modules; in the place of one that holds a tower, what it holds besides."""
    towers, found = set(family.towers.values()), {}
    for path, module in modules.items():
        if not any(tower.startswith(f"{path}.") for tower in towers):
            found[path] = module
            continue
        inside = {f"{path}.{name}": child for name, child in module.named_children()}
        outside = {at: child for at, child in inside.items() if at not in towers}
        found |= _without_towers(outside, family)
    return found


def _goes_by(path: str, name: str, roots: Mapping[str, str]) -> bool:
    root = next((short for short, at in roots.items() if f"{path}.".startswith(f"{at}.")), None)
    first, *rest = name.split(".")
    if first in roots:
        below = path.removeprefix(roots[first]).strip(".")
        return root == first and (_ends_in(below, rest) if rest else not below)
    return path == name or (root in (TEXT, None) and _ends_in(path, [first, *rest]))


def _ends_in(path: str, words: Sequence[str]) -> bool:
    end = path.split(".")[-len(words) :]
    return len(end) == len(words) and all(map(_is_word, end, words))


def _is_word(part: str, word: str) -> bool:
    if numbers := re.fullmatch(r"(\d+)-(\d+)", word):
        return part.isdigit() and int(numbers[1]) <= int(part) <= int(numbers[2])
    return fnmatchcase(part, word)


def _outside(thinker: PreTrainedModel, roots: Mapping[str, str]) -> list[str]:
    """Paths of what is in none of the roots, the topmost ones."""
    found: list[str] = []
    for path, _ in thinker.named_modules():
        holds_one = any(at.startswith(f"{path}.") for at in roots.values())
        known = (*roots.values(), *found)
        if path and not holds_one and not any(f"{path}.".startswith(f"{at}.") for at in known):
            found.append(path)
    return found


def _unknown(name: str, thinker: PreTrainedModel, family: Family) -> str:
    roots = _roots(family)
    decoder = thinker.get_submodule(family.decoder)
    outside = _outside(thinker, roots)
    known = [*family.towers, TEXT, *outside]
    inside = sorted(
        {
            part
            for path, _ in decoder.named_modules(prefix=family.decoder)
            if not any(f"{path}.".startswith(f"{tower}.") for tower in family.towers.values())
            for part in path.removeprefix(family.decoder).split(".")
        }
        - {""},
        key=lambda part: (part.isdigit(), int(part) if part.isdigit() else 0, part),
    )
    words = [part for part in inside if not part.isdigit()]
    numbers = [part for part in inside if part.isdigit()]
    if numbers:
        words.append(f"{numbers[0]}-{numbers[-1]} (in layers)")
    close = did_you_mean(name.split(".")[-1], [*roots, *words, *outside])
    return (
        f"{family.name} has no module {name!r}{close}; it has: {', '.join(known)}; and in "
        f"{TEXT}: {', '.join(words)}"
    )
