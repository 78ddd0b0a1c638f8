"""`triptych ask` on real files: what it shows while the model writes, and what it refuses."""

import json
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from triptych.cli.main import main
from triptych.data.clips.mp4 import write_mp4
from triptych.models import OmniModel
from triptych.stages import parse

SHORT = ["--max-new-tokens", "60", "--max-stage-tokens.context", "8",
         "--max-stage-tokens.think", "8", "--max-stage-tokens.answer", "8"]  # fmt: skip
QUESTION = "Look: what does the person intend?"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, a sound, a silent film, a film with sound, a file cut off in its middle."""
    folder = tmp_path_factory.mktemp("files")
    pictures = np.random.default_rng(0).integers(0, 255, (4, 56, 56, 3), np.uint8)
    voice = np.sin(np.arange(16_000) / 20).astype(np.float32)
    Image.fromarray(pictures[0]).save(folder / "photo.jpg")
    with av.open(str(folder / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        pcm = (voice * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    write_mp4(folder / "film.mp4", pictures, fps=4, voice_N=voice)
    with (
        av.open(str(folder / "film.mp4")) as film,
        av.open(str(folder / "silent.mp4"), "w") as silent,
    ):
        copied = silent.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(film.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copied
                silent.mux(packet)
    photo = (folder / "photo.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(photo[: len(photo) // 2])
    return folder


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs the command; gives the exit code and all that reached the two file descriptors."""

    def run(
        *words: str | Path, model: str | Path = tiny_folder, workers: int = 0
    ) -> tuple[int, str, str]:
        capfd.readouterr()
        decode = ["--decode.workers", str(workers)]
        code = main(["ask", str(model), *map(str, words), *decode])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        ([], []),
        (["photo.jpg"], ["image"]),
        (["sound.wav"], ["audio"]),
        (["silent.mp4"], ["video"]),
        (["film.mp4"], ["video", "audio"]),
        (["sound.wav", "photo.jpg", "film.mp4"], ["audio", "image", "video", "audio"]),
    ],
)
def test_json_is_one_object_and_says_how_each_file_was_taken(
    ask: Ask, files: Path, names: list[str], kinds: list[str]
) -> None:
    paths = [files / name for name in names]
    code, out, err = ask(*paths, QUESTION, "--json", *SHORT, "--options", "to comfort", "to tease")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert out.count("\n") == 1
    assert set(record) == {
        "context", "think", "answer", "text", "valid", "violations", "stop_reason", "tokens",
        "forced", "overruled", "seconds", "media",
    }  # fmt: skip
    assert [item["kind"] for item in record["media"]] == kinds
    assert {item["path"] for item in record["media"]} == set(map(str, paths))
    assert record["valid"]
    assert record["violations"] == []
    assert record["answer"] in ("A", "B")
    assert record["context"] == parse(record["text"]).context
    assert 0 < record["forced"] <= record["tokens"] <= 60


def test_what_is_shown_is_the_completion_with_each_stage_on_a_line_of_its_own(
    ask: Ask, files: Path
) -> None:
    words = [files / "film.mp4", QUESTION, *SHORT, "--options", "to comfort, softly", "to tease"]
    code, out, err = ask(*words, workers=2)
    assert code == 0
    record = json.loads(ask(*words, "--json")[1])
    shown = parse(out)
    assert shown.valid
    assert [shown.context, shown.think, shown.answer] == [
        record[name] for name in ("context", "think", "answer")
    ]
    for tag in ("<context>", "<think>", "<answer>"):
        assert f"\n{tag}" in f"\n{out}"
    assert out.endswith("</answer>\n")
    chosen = {"A": "A. to comfort, softly\n", "B": "B. to tease\n"}
    assert err == chosen[record["answer"]]


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (["--type", "yes_no"], {"yes", "no", "Yes", "No"}),
        pytest.param(
            ["--type", "multi_select", "--options", "a,b"],
            {"A", "B", "A,B", "A, B"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_answer_is_held_to_the_type_of_the_question(
    ask: Ask, words: list[str], answers: set[str]
) -> None:
    # The tiny model writes at random: drawn by several seeds, it would leave any other form.
    for seed in ("1", "2", "3"):
        _, out, _ = ask(QUESTION, "--json", *SHORT, "--seed", seed, "--temperature", "1", *words)
        assert json.loads(out)["answer"] in answers


def readable(text: str) -> str:
    """The text without white space and control characters, and without what stands for them."""
    return re.sub(r"[\x00-\x20\x7f-\x9f\u2400-\u2420\ufffd]", "", text)


def test_without_enforcement_the_raw_model_is_seen_and_its_violations_are_named(
    ask: Ask, files: Path
) -> None:
    words = [files / "photo.jpg", QUESTION, "--no-enforce", "--max-new-tokens", "20"]
    code, out, err = ask(*words)
    assert code == 0
    record = json.loads(ask(*words, "--json")[1])
    assert readable(out) == readable(record["text"])
    assert (record["stop_reason"], record["tokens"]) == ("length", 20)
    assert (record["forced"], record["overruled"]) == (0, 0)
    assert not record["valid"]
    lines = [
        f"violation: {found['kind']}{' ' + found['stage'] if found['stage'] else ''}, "
        f"at character {found['position']}"
        for found in record["violations"]
    ]
    assert err.splitlines() == lines
    assert f"violation: missing think, at character {len(record['text'])}" in lines


def test_text_appears_while_it_is_generated(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, seen = 0, list[int]()
    logits = OmniModel.logits

    def counted(self: OmniModel, hidden: Any) -> Any:
        nonlocal steps
        steps += 1
        return logits(self, hidden)

    class Output:
        """Standard output that remembers after how many steps of the model it was written to."""

        encoding = "utf-8"

        def write(self, text: str) -> int:
            if text:
                seen.append(steps)
            return len(text)

        def flush(self) -> None:
            """Nothing is kept back."""

    monkeypatch.setattr(OmniModel, "logits", counted)
    monkeypatch.setattr(sys, "stdout", Output())
    ask(QUESTION, "--no-enforce", "--max-new-tokens", "30")
    assert seen[0] <= 3
    assert len(set(seen)) > 15


def test_the_end_token_is_not_shown_even_if_it_has_text(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [QUESTION, "--no-enforce", "--max-new-tokens", "1"]
    assert ask(*words)[1].strip()
    monkeypatch.setattr("triptych.models.omni._end_token_ids", lambda *_: tuple(range(700)))
    assert ask(*words)[1] == ""


def on_a_terminal(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command writes where standard output is a terminal."""
    leader, follower = pty.openpty()
    shown = b""
    with open(leader, "rb", buffering=0) as screen:
        with open(follower, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            assert main(words) == 0
        with suppress(OSError):  # the end: nobody writes to the terminal any more
            while block := screen.read(4096):
                shown += block
    return shown.decode()


def test_stages_have_colours_of_their_own_on_a_terminal(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["ask", str(tiny_folder), QUESTION, *SHORT, "--decode.workers", "0"]
    for name in ("NO_COLOR", "COLORTERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = on_a_terminal(words, monkeypatch)
    for stage, colour in (("context", 36), ("think", 33), ("answer", 32)):
        assert f"\x1b[1;{colour}m<{stage}>\x1b[0m\x1b[{colour}m" in shown
        assert f"\x1b[1;{colour}m</{stage}>\x1b[0m" in shown
    monkeypatch.setenv("NO_COLOR", "1")
    shown = on_a_terminal(words, monkeypatch)
    assert "<context>" in shown
    assert "\x1b" not in shown


def test_what_a_model_writes_cannot_steer_the_terminal(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    escape = "\x1b[2J\x9b2J\r\a</thi"
    monkeypatch.setattr("triptych.generation.streaming.completion_text", lambda *_: escape)
    _, out, _ = ask(QUESTION, "--no-enforce", "--max-new-tokens", "1")
    assert out == "␛[2J\ufffd2J ␇</thi\n"  # and the end is not held back for ever


@pytest.mark.slow
def test_what_the_budget_cuts_is_said_on_standard_error(tiny_folder: Path, files: Path) -> None:
    """In a process of its own: here, pytest takes what is logged."""
    command = [sys.executable, "-m", "triptych", "ask", str(tiny_folder), str(files / "film.mp4")]
    done = subprocess.run(
        [*command, QUESTION, "--json", *SHORT, "--media.max-seconds", "0.5"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["valid"]
    notices = [line.partition("film.mp4: ")[2] for line in done.stderr.splitlines()]
    assert notices == [
        f"only the first 0.5 s of its {what} (max_seconds)" for what in ("video", "audio")
    ]


class TestWrongUsage:
    """One line that names what is wrong, exit code 2, and nothing on standard output."""

    @pytest.fixture
    def complaint(self, ask: Ask) -> Callable[..., str]:
        def run(*words: str | Path, **options: Any) -> str:
            code, out, err = ask(*words, **options)
            assert (code, out) == (2, "")
            assert err.startswith("triptych: error: ")
            assert err.endswith("\n")
            assert err.count("\n") == 1
            return err

        return run

    def test_a_file_that_is_missing(self, complaint: Callable[..., str], files: Path) -> None:
        assert f"{files / 'gone.mp4'}: no such file" in complaint(files / "gone.mp4", QUESTION)

    def test_a_file_that_is_no_media(self, complaint: Callable[..., str], tmp_path: Path) -> None:
        path = tmp_path / "film.mp4"
        path.write_text("no film")
        assert f"{path}: cannot be decoded" in complaint(path, QUESTION)

    def test_a_file_that_turns_out_to_be_broken_when_it_is_decoded(
        self, complaint: Callable[..., str], files: Path
    ) -> None:
        error = complaint(files / "cut.jpg", QUESTION, workers=1)
        assert error.startswith(f"triptych: error: {files / 'cut.jpg'}: image cannot be decoded")

    def test_no_model_there(self, complaint: Callable[..., str], tmp_path: Path) -> None:
        assert f"{tmp_path}: no model here" in complaint(QUESTION, model=tmp_path)

    def test_an_empty_question(self, complaint: Callable[..., str]) -> None:
        assert "the question is empty" in complaint(" ")

    def test_a_question_that_the_options_swallowed(
        self, complaint: Callable[..., str], files: Path
    ) -> None:
        error = complaint(files / "photo.jpg", "--options", "a", "b", QUESTION)
        assert "photo.jpg: is a file where the question should be" in error

    @pytest.mark.parametrize(
        ("words", "cause"),
        [
            (["--options", "only"], "--options: multiple_choice needs at least two options"),
            (["--type", "multi_select"], "--options: multi_select needs at least two options"),
            (["--options", "A. one", "B. two"], "--options: options carry letters of their own"),
            (["--max-new-tokens", "5"], "max_new_tokens is 5"),
            (["--max-new-tokens", "0"], "max_new_tokens is 0; use 1 or more"),
            (["--temperature", "-1"], "temperature is -1.0; use 0 or more"),
            (["--no-enforce", "--max-stage-tokens.think", "9"], "max_stage_tokens holds only"),
            (["--media.fps", "0"], "media.fps is 0.0"),
        ],
    )
    def test_settings_that_cannot_be(
        self, complaint: Callable[..., str], words: list[str], cause: str
    ) -> None:
        assert cause in complaint(QUESTION, *words)
