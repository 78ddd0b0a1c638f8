from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from triptych.errors import ModelError
from triptych.models import weight_files
from triptych.models.weight_files import named_when_broken


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three files, of which the second is empty."""
    for name in ("1", "2", "3"):
        save_file({"weight": torch.zeros(4)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "2.safetensors").write_bytes(b"")
    return tmp_path


def load_all(folder: Path) -> None:
    for file in sorted(folder.glob("*.safetensors")):
        load_file(file)


def test_of_several_files_the_broken_one_is_named(shards: Path) -> None:
    with (
        pytest.raises(ModelError, match=rf"^{shards}/2\.safetensors: broken .*delete the file"),
        named_when_broken(shards),
    ):
        load_all(shards)


def test_a_file_of_a_hub_model_is_named_where_it_is(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "snapshot_download", lambda name, **_: str(shards))
    with (
        pytest.raises(ModelError, match=rf"^{shards}/2\.safetensors: "),
        named_when_broken("someone/model"),
    ):
        load_all(shards)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), named_when_broken("someone/model"):
        raise KeyError
