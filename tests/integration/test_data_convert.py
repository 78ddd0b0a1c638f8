"""`triptych data convert` from the command line, and commands on data of another form."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from triptych.cli.main import main
from triptych.data.readers import FORMS
from triptych.data.sample import Sample, read_samples
from triptych.stages.prompt import OPTION_LETTERS

GOLDEN = Path(__file__).parents[1] / "golden" / "readers"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_list_is_converted_and_what_was_told_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "data.jsonl"
    assert main(["data", "convert", str(GOLDEN / "list.yaml"), str(out)]) == 0
    assert read_samples(out) == read_samples(GOLDEN / "list.expected.jsonl")
    said = capsys.readouterr().out
    assert f"{GOLDEN / 'list.yaml'}: humanomni, video_r1: a list of 2 data sets: " in said
    assert "whose records have problem, problem_type, solution, path" in said
    assert (
        f"written: {out}, 4 samples (yes_no 1, multiple_choice 1, free_form 1, numerical 1)" in said
    )
    assert not out.with_name("data.jsonl.rejected.jsonl").exists()


def test_what_is_left_out_is_shown_listed_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = json.loads((GOLDEN / "humanomni.json").read_text(encoding="utf-8"))
    broken = [{**records[0], "solution": "<answer>Z</answer>"} for _ in range(12)]
    source, out = tmp_path / "data.json", tmp_path / "out.jsonl"
    source.write_text(json.dumps([*records, *broken]), encoding="utf-8")
    assert main(["data", "convert", str(source), str(out)]) == 1
    said = capsys.readouterr().out
    assert f"  {source}[5]: answer: 'Z' in 'Z' is no letter of the 5 options" in said
    assert said.count("is no letter") == 10
    assert "  and 2 more" in said
    rejected = out.with_name("out.jsonl.rejected.jsonl")
    assert f"left out: 12 records, listed in {rejected}" in said
    assert [record["where"] for record in lines(rejected)] == [
        f"{source}[{index}]" for index in range(5, 17)
    ]
    assert len(read_samples(out)) == 5
    assert main(["data", "convert", str(source), str(out), "--allow-problems"]) == 0
    # A sound source leaves no list of an earlier one behind.
    source.write_text(json.dumps(records), encoding="utf-8")
    assert main(["data", "convert", str(source), str(out)]) == 0
    assert not rejected.exists()


def test_records_without_ids_of_their_own_get_them_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "data.jsonl", tmp_path / "out.jsonl"
    line = (GOLDEN / "native.jsonl").read_text(encoding="utf-8").splitlines()[0]
    source.write_text(f"{line}\n{line}\n", encoding="utf-8")
    assert main(["data", "convert", str(source), str(out)]) == 1
    assert "1 of them lack nothing but an id of their own: --new-ids" in capsys.readouterr().out
    assert main(["data", "convert", str(source), str(out), "--new-ids"]) == 0
    assert [sample.id for sample in read_samples(out)] == ["clip-1", "data-2"]


def test_control_characters_of_the_data_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"question": "Why?", "candidates": ["so", "not"], "answer": "A"}
    source, out = tmp_path / "data.json", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"a": {"task0": task}, "\x1b[2J": {"task0": {}}}))
    assert main(["data", "convert", str(source), str(out)]) == 1
    said = capsys.readouterr().out
    assert f"{source}[?[2J].task0: question: missing" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("options", "cause", "code"),
    [
        (["--form", "squad"], "form 'squad' is unknown", 2),
        (["--form", "social_iq"], "no record is a sample, so nothing is written", 1),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_the_old_file(
    options: list[str],
    cause: str,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    assert main(["data", "convert", str(GOLDEN / "chat.jsonl"), str(out), *options]) == code
    assert cause in capsys.readouterr().err
    assert out.read_text() == "old"


def test_the_help_names_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "convert", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    *most, last = FORMS
    assert f"{', '.join(most)} or {last}" in said


def test_a_file_is_not_converted_onto_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text("{}")
    assert main(["data", "convert", str(source), str(tmp_path / "." / "data.jsonl")]) == 2
    assert "name another file" in capsys.readouterr().err
    assert source.read_text() == "{}"


def as_humanomni(sample: Sample) -> dict[str, Any]:
    """A native sample as HumanOmniV2 writes it; its media are a video and that video's sound."""
    reference = sample.reference
    pairs = zip(OPTION_LETTERS, sample.options, strict=False)
    return {
        "problem": sample.question,
        "problem_type": {"yes_no": "judge"}.get(sample.problem_type, sample.problem_type),
        "options": [f"{letter}. {option}" for letter, option in pairs],
        "solution": f"<context>{reference.context}</context><think>{reference.reasoning}</think>"
        f"<answer>{sample.answer}</answer>",
        "data_type": "video",
        "path": str(sample.media[0].path),
    }


def test_training_reads_the_published_form_and_its_fingerprint_covers_every_file(
    samples: list[Sample], tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "emer.json").write_text(json.dumps([as_humanomni(one) for one in samples[:4]]))
    train = tmp_path / "stage1.yaml"
    train.write_text("datasets:\n- json_path: emer.json\n  sampling_strategy: end:50%\n")
    run = tmp_path / "run"
    words = f"sft {run} --model {tiny_folder} --train {train} --max-steps 1 --batch-size 2"
    words += f" --micro-batch-size 2 --validation {train} --eval-steps 1 --max-new-tokens 4"
    assert main(words.split()) == 0
    data = json.loads((run / "environment.json").read_text())["data"]
    assert set(data) == {train.as_posix(), (tmp_path / "emer.json").as_posix()}


@pytest.mark.slow
def test_a_hundred_thousand_records_are_read_in_a_gigabyte(tmp_path: Path) -> None:
    line = (GOLDEN / "native.jsonl").read_text(encoding="utf-8").splitlines()[0]
    path = tmp_path / "data.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(100_000):
            text = line.replace("clip-1", f"clip-{number}").replace("clips/1", f"clips/{number}")
            file.write(text.replace("She smiles.", "She looks at the door. " * 18) + "\n")
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from triptych.data.readers import read_dataset\n"
        "dataset = read_dataset(Path(sys.argv[1]))\n"
        "most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(len(dataset.samples), most * 1024)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, peak = done.stdout.split()
    assert int(count) == 100_000
    assert int(peak) < 1 << 30
