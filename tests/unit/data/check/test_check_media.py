"""What a check finds in media: missing, broken, silent, cut, copied, and shared with other data."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from triptych.data.check import Check, Finding, Kind, MediaFiles, Severity, check
from triptych.data.check.media import Decode
from triptych.data.decode_worker import Decoded
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import MediaBudget
from triptych.data.readers import Dataset, Problem, read_dataset
from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.errors import MediaError


def asking(name: str, *paths: Path, question: str = "", kind: str = "video") -> Sample:
    """A question about files; by default one that is asked of nothing else."""
    media = tuple(Media(kind=MediaKind(kind), path=path) for path in paths)
    return Sample(
        id=name,
        question=question or f"What happens in {name}?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=media,
    )


def checked(
    *samples: Sample,
    against: Sequence[Sample] = (),
    compare_contents: bool = False,
    decode: Decode | None = None,
) -> Check:
    return check(
        Dataset(samples, (), "native", "for the test"),
        lambda _: None,
        MediaFiles(decode=decode),
        against={"test": Dataset(tuple(against), (), "native", "")} if against else {},
        compare_contents=compare_contents,
    )


def found_in(check: Check, kind: Kind) -> list[tuple[str, str]]:
    return [(one.where, one.detail) for one in check.findings.get(kind, ())]


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="module")
def decode() -> Decode:
    """Decodes in this process, with room for 4 frames of 32 x 32."""
    budget = MediaBudget(max_frames=4, max_pixels=32 * 32, fps=8.0)
    pool = DecodePool()
    return lambda media: pool.outcomes(media, budget)


def test_files_that_are_not_there(
    tmp_path: Path, files: Callable[[str, bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, empty, locked = tmp_path / "gone.mp4", files("empty", b""), files("locked", b"x")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked)
    found = checked(
        asking("a", gone, empty, gone),
        asking("b", tmp_path),
        asking("c", files("there", b"x")),
        asking("d", locked),
        asking("e", gone / "below"),
    )
    assert found_in(found, Kind.MEDIA_MISSING) == [
        ("a", f"{gone}: no such file"),
        ("a", f"{empty}: the file is empty"),
        ("b", f"{tmp_path}: not a file"),
        ("d", f"{locked}: may not be read"),
        ("e", f"{gone / 'below'}: no such file"),
    ]
    assert found.files == 6


def test_decoding_tells_broken_silent_and_cut_media(
    clips_folder: Path, tmp_path: Path, files: Callable[[str, bytes], Path], decode: Decode
) -> None:
    clip = next((clips_folder / "cold-start").glob("*.mp4"))
    broken = files("broken.mp4", clip.read_bytes()[:2000])
    Image.new("RGB", (64, 64)).save(tmp_path / "wide.png")
    gone = tmp_path / "gone.mp4"
    found = checked(
        asking("a", broken),
        asking("b", tmp_path / "wide.png", kind="image"),
        asking("c", clip, kind="audio"),
        asking("d", broken, clip, gone),
        decode=decode,
    )
    undecodable = found.findings[Kind.MEDIA_UNDECODABLE]
    assert [one.where for one in undecodable] == ["a", "d"]
    assert all(one.detail.startswith(f"video: {broken}: ") for one in undecodable)
    cut = dict(found_in(found, Kind.MEDIA_CUT))
    assert cut["b"].endswith("wide.png: scaled from 64x64 to 32x32 (max_pixels)")
    assert cut["d"].endswith("(max_pixels)")
    assert "c" not in cut
    assert [where for where, _ in found_in(found, Kind.MEDIA_MISSING)] == ["d"]


def test_sound_that_a_video_does_not_have(silent_clip: Path, decode: Decode) -> None:
    found = checked(asking("a", silent_clip, kind="audio"), asking("b", silent_clip), decode=decode)
    (finding,) = found.findings[Kind.MEDIA_WITHOUT_AUDIO]
    assert (finding.where, finding.sample) == ("a", 0)
    assert finding.media == Media(kind=MediaKind.AUDIO, path=silent_clip)
    assert Kind.MEDIA_UNDECODABLE not in found.findings


def test_media_that_samples_share_are_decoded_once(clips_folder: Path) -> None:
    clip = next((clips_folder / "cold-start").glob("*.mp4"))
    asked: list[Media] = []

    def decode(media: Sequence[Media]) -> Iterator[Decoded | MediaError]:
        asked.extend(media)
        return DecodePool().outcomes(media, MediaBudget())

    samples = asking("a", clip, clip), asking("b", clip)
    data, files = Dataset(samples, (), "native", ""), MediaFiles(decode=decode)
    for _ in range(2):  # once as it is, once repaired
        check(data, lambda _: None, files)
    assert len(asked) == 1


def test_worker_processes_find_the_same(clips_folder: Path, decode: Decode, tmp_path: Path) -> None:
    samples = read_dataset(clips_folder / "cold-start.jsonl").samples[:4]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    samples = (*samples, asking("broken", broken))
    budget = MediaBudget(max_frames=4, max_pixels=32 * 32, fps=8.0)
    with DecodePool(DecodeLimits(workers=2)) as pool:
        apart = checked(*samples, decode=lambda media: pool.outcomes(media, budget))
    assert apart.findings == checked(*samples, decode=decode).findings
    assert apart.count(Severity.ERROR) == 1


def test_copies_of_one_content(files: Callable[[str, bytes], Path], tmp_path: Path) -> None:
    first, second = files("a.mp4", b"same"), files("b.mp4", b"same")
    others = [files("c.mp4", b"diff"), files("d.mp4", b"longer than any other")]
    link = tmp_path / "link.mp4"
    link.symlink_to(first)
    found = checked(
        *(asking(path.name, path) for path in (first, second, *others, link)),
        compare_contents=True,
    )
    assert found_in(found, Kind.COPIED_MEDIA) == [
        (str(second), f"the same as {first}, with 1 more"),
    ]
    assert found.hashed == 3  # the link is the first file, and nothing is as long as the longest
    assert Kind.COPIED_MEDIA not in checked(asking("a", first), asking("b", second)).findings


def test_a_file_that_changed_is_read_again(files: Callable[[str, bytes], Path]) -> None:
    one, two = files("a", b"same"), files("b", b"same")
    identities = MediaFiles().identities([one, two])
    assert identities[one] == identities[two]
    two.write_bytes(b"else")
    identities = MediaFiles().identities([one, two])
    assert identities[one] != identities[two]


def test_leaks_by_content_whatever_the_file_is_called(files: Callable[[str, bytes], Path]) -> None:
    ours, theirs = files("train/a.mp4", b"clip one"), files("test/x.mp4", b"clip one")
    free = files("train/b.mp4", b"clip two")
    question = "Who smiles?"
    test = [asking("t1", theirs, question=question), asking("t2", files("y", b"y"), question="Why")]
    found = checked(
        asking("a", ours, question="who smiles"),
        asking("b", ours),
        asking("c", free, question=question),
        asking("d", free),
        asking("e", free, files("z", b"y"), question="why?"),
        against=test,
    )
    assert found_in(found, Kind.LEAKED_SAMPLE) == [("a", "t1 in test"), ("e", "t2 in test")]
    assert found_in(found, Kind.LEAKED_MEDIA) == [("b", "t1 in test")]
    assert found_in(found, Kind.LEAKED_QUESTION) == [("c", "t1 in test")]
    assert Kind.SHARED_TEMPLATE not in found.findings


def test_a_question_asked_of_many_clips_is_a_template(files: Callable[[str, bytes], Path]) -> None:
    question = "Is the person sincere?"
    clips = [files(f"{number}.mp4", b"clip" + bytes([number])) for number in range(5)]
    ours = [asking(f"a{number}", clip, question=question) for number, clip in enumerate(clips[:2])]
    theirs = [
        asking(f"t{number}", clip, question=question) for number, clip in enumerate(clips[2:])
    ]
    assert len(found_in(checked(*ours, against=theirs), Kind.SHARED_TEMPLATE)) == 2
    assert len(found_in(checked(*theirs, against=ours), Kind.SHARED_TEMPLATE)) == 3
    assert len(found_in(checked(*ours, against=theirs[:2]), Kind.LEAKED_QUESTION)) == 2


def test_questions_without_media_leak_by_their_text() -> None:
    found = checked(
        asking("a", question="Why?"), asking("b"), against=[asking("t", question="Why")]
    )
    assert found_in(found, Kind.LEAKED_SAMPLE) == [("a", "t in test")]


def test_what_is_not_there_is_compared_by_its_path_and_said_so(tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    found = checked(asking("a", gone), against=[asking("t", gone), asking("u", tmp_path / "other")])
    assert found_in(found, Kind.LEAKED_MEDIA) == [("a", "t in test")]
    assert found.against["test"].missing == 2


def test_the_problems_of_other_data_are_counted() -> None:
    problem = Problem("t:1", None, "record", "not JSON", False)
    other = Dataset((asking("t"),), (problem,), "native", "")
    data = Dataset((asking("a"),), (), "native", "")
    found = check(data, lambda _: None, MediaFiles(), against={"test": other})
    assert (found.against["test"].samples, found.against["test"].unreadable) == (1, 1)
    assert found.count(Severity.ERROR) == 0


def test_a_data_set_is_found_in_itself_and_splits_share_no_clip(clips_folder: Path) -> None:
    train = read_dataset(clips_folder / "rl-biased.jsonl")
    test = read_dataset(clips_folder / "test-balanced.jsonl")
    same = check(train, lambda _: None, MediaFiles(), against={"itself": train})
    assert len(same.findings[Kind.LEAKED_SAMPLE]) == len(train.samples)
    apart = check(train, lambda _: None, MediaFiles(), against={"test": test})
    assert apart.count(Severity.ERROR) == 0


def test_findings_are_equal_by_value() -> None:
    assert Finding(Kind.NO_MEDIA, "a", "x", 1) == Finding(Kind.NO_MEDIA, "a", "x", 1)
