"""The rows that `triptych data convert --to verl` writes, as verl's own data set reads them."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
from verl_batches import ComposeConfig

from triptych.cli.main import main
from triptych.data.clips import ClipSizes, make_clips
from triptych.data.sample import Media, MediaKind, Sample, read_samples, write_samples
from triptych.integrations.verl_data import sample_of
from triptych.stages import build_messages


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Questions on real clips, one with a part of its clip and a picture, one without media."""
    folder = tmp_path_factory.mktemp("clips")
    sizes = ClipSizes(cold_start=3, rl_biased=2, rl_balanced=2, validation=2, test_balanced=2)
    clips = make_clips(folder, seed=0, sizes=sizes, jobs=1).folder
    Image.new("RGB", (84, 56), (200, 30, 90)).save(folder / "still.png")
    silent = [
        sample.model_copy(
            update={"media": tuple(m for m in sample.media if m.kind is not MediaKind.AUDIO)}
        )
        for sample in read_samples(clips / "cold-start.jsonl")
    ]
    (video,) = silent[0].media
    part = video.model_copy(update={"start": 0.25, "end": 1.0})
    still = Media(kind=MediaKind.IMAGE, path=folder / "still.png")
    return [
        silent[0].model_copy(update={"media": (part, still)}),
        silent[1],
        silent[2].model_copy(update={"media": ()}),
    ]


@pytest.fixture(scope="module")
def rows(
    samples: list[Sample], tmp_path_factory: pytest.TempPathFactory, config_of: ComposeConfig,
    tokenizer: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    folder = tmp_path_factory.mktemp("prompts")
    write_samples(folder / "in.jsonl", samples)
    words = ["data", "convert", f"{folder}/in.jsonl", f"{folder}/out.parquet", "--to", "verl"]
    assert main([*words, "--media.max-frames", "8"]) == 0
    config = config_of([f"+data.cache_dir={folder}/cache"])
    files = [f"{folder}/out.parquet"]
    data = RLHFDataset(files, tokenizer, config.data, processor=tokenizer)
    return [data[i] for i in range(len(data))]


def test_verls_data_set_makes_the_messages_that_triptych_asks(
    samples: list[Sample], rows: list[dict[str, Any]]
) -> None:
    for sample, row in zip(samples, rows, strict=True):
        kinds = [str(item.kind) for item in sample.media]
        wanted = build_messages(sample.question, sample.problem_type, sample.options, kinds)
        found = [
            {
                "role": message["role"],
                "content": [
                    {key: part[key] for key in ("type", "text") if key in part}
                    for part in (
                        [{"type": "text", "text": message["content"]}]
                        if isinstance(message["content"], str)
                        else message["content"]
                    )
                ],
            }
            for message in row["raw_prompt"]
        ]
        assert found == wanted
        assert row["reward_model"]["ground_truth"] == sample.answer
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert len(collate_fn(rows)["raw_prompt"]) == 3


def test_media_are_named_with_their_part_and_budget(
    samples: list[Sample], rows: list[dict[str, Any]]
) -> None:
    video, image = (part for part in rows[0]["raw_prompt"][1]["content"] if part["type"] != "text")
    assert video["video"] == str(samples[0].media[0].path)
    assert Path(video["video"]).is_absolute()
    assert (video["video_start"], video["video_end"]) == (0.25, 1.0)
    assert (video["fps"], video["max_frames"], video["max_pixels"]) == (2.0, 8, 768 * 28 * 28)
    assert image["image"] == str(samples[0].media[1].path)


def test_the_reward_worker_gets_the_whole_sample_back(
    samples: list[Sample], rows: list[dict[str, Any]]
) -> None:
    assert [sample_of(row["extra_info"]) for row in rows] == samples
    assert sample_of(rows[0]["extra_info"]).reference == samples[0].reference
