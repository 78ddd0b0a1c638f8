"""The commands that the documents show are commands that exist."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch

from triptych.cli.main import main
from triptych.data.sample import Sample
from triptych.models import OmniModel
from triptych.rewards import RewardFunction, score_group
from triptych.stages import parse

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def shown_commands(document: Path) -> Iterator[tuple[str, list[str]]]:
    """Place and words of each line in the document's bash blocks."""
    text = document.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(?:bash|sh|shell)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        first = text[: block.start(1)].count("\n") + 1
        joined = block[1].replace("\\\n", "  ")
        for number, line in enumerate(joined.splitlines(), start=first):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                yield f"{document.name}:{number}", words


SHOWN = [(place, words) for document in DOCUMENTS for place, words in shown_commands(document)]


def arguments_of_triptych(words: list[str]) -> list[str] | None:
    """What stands behind `triptych`, up to a pipe or a redirection; None for other commands."""
    end = next((i for i, word in enumerate(words) if word in (">", ">>", "|", "&&")), len(words))
    words = words[:end]
    if words[1:3] == ["-m", "triptych"]:
        return words[3:]
    return words[1:] if Path(words[0]).name == "triptych" else None


TRIPTYCH = [(place, args) for place, words in SHOWN if (args := arguments_of_triptych(words))]
MAKE = [(place, words) for place, words in SHOWN if words[0] == "make"]


def without_made_config(args: list[str]) -> list[str]:
    """Leave out a --config file that another command that is shown writes (--out FILE)."""
    made = {other[other.index("--out") + 1] for _, other in TRIPTYCH if "--out" in other}
    if "--config" in args and args[(at := args.index("--config")) + 1] in made:
        return [*args[:at], *args[at + 2 :]]
    return args


@pytest.mark.parametrize(("place", "args"), TRIPTYCH, ids=[place for place, _ in TRIPTYCH])
def test_every_triptych_command_is_understood(
    place: str, args: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)  # recipes are named from here
    args = without_made_config(args)
    if "--help" in args or "--version" in args:
        try:
            code = main(args)
        except SystemExit as stop:
            code = 0 if stop.code is None else int(stop.code)
    else:
        code = main([*args, "--print-config"])
    assert code == 0, f"{place}: triptych {shlex.join(args)}: {capsys.readouterr().err}"


@pytest.mark.parametrize(("place", "words"), MAKE, ids=[place for place, _ in MAKE])
def test_every_make_target_exists(place: str, words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words[1:]:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{name}\s*[:?]?=" if is_variable else rf"^{name}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"{place}: the Makefile has no {name}"


def test_every_record_that_is_shown_is_a_sample() -> None:
    records = [
        json.loads(block)
        for document in DOCUMENTS
        for block in re.findall(r"^```json\n(.*?)^```", document.read_text("utf-8"), re.M | re.S)
        if '"problem_type"' in block
    ]
    assert records
    for record in records:
        Sample.model_validate(record)


def blocks(language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```"
    texts = (document.read_text(encoding="utf-8") for document in DOCUMENTS)
    return [block for text in texts for block in re.findall(pattern, text, re.M | re.S)]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_settings_that_are_shown_are_settings(
    block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shown.yaml").write_text(block, encoding="utf-8")
    words = ["grpo", "out", "--model", "m", "--train", "t"]
    if block.startswith("server:"):
        words = ["eval", "out", "--data", "t"]
    words += ["--config", f"{tmp_path}/shown.yaml"]
    assert main([*words, "--print-config"]) == 0, capsys.readouterr().err


def test_a_reward_of_ones_own_is_a_reward() -> None:
    (code,) = [block for block in blocks("python") if "def brevity" in block]
    names: dict[str, RewardFunction] = {}
    exec(code, names)
    sample = Sample(id="q", question="?", problem_type="yes_no", answer="yes", media=())  # type: ignore[arg-type]
    assert score_group({"brevity": names["brevity"]}, sample, ["", "x" * 400]).values_GK == (
        (1.0,),
        (0.5,),
    )


def test_the_readmes_python_holds_a_model_to_the_format(tiny: OmniModel) -> None:
    """Run as it stands there, on a model of the user's own with its tokenizer and inputs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    ids = torch.tensor([tiny.tokenizer.encode("What does the person feel?")])
    names = {
        "model": tiny.thinker,
        "tokenizer": tiny.tokenizer,
        "inputs": {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
    }
    exec(code.replace("512", "64"), names)
    (output,) = cast(torch.Tensor, names["output"]).tolist()
    assert parse(tiny.tokenizer.decode(output[ids.shape[1] :], skip_special_tokens=True)).valid


def test_the_readme_shows_the_quick_start() -> None:
    assert ["make", "demo"] in [words for _, words in MAKE]
    assert TRIPTYCH


def test_the_lower_bounds_are_the_versions_that_are_tested() -> None:
    pinned = dict(
        re.findall(r"^([\w-]+)==(.+)$", (ROOT / "requirements/oldest.txt").read_text(), re.M)
    )
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    runtime = pyproject.partition("\ndependencies = [")[2].partition("\n]")[0]
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', runtime))
    del bounds["torch"]  # its oldest version has no build for every machine that runs the tests
    assert bounds
    assert {name: pinned[name] for name in bounds} == bounds


def test_the_quick_start_is_pinned_and_free_of_this_machine() -> None:
    for name in ("cpu.txt", "test.txt", "oldest.txt"):
        for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"|#.*|-r cpu\.txt|[a-z0-9-]+==[\w.]+", line), f"{name}: {line}"
