"""The model card of a trained model: README.md in its folder, in the form of the Hugging Face hub.

Everything it says is in the records of the run (config.yaml, environment.json, metrics.jsonl) and
in the settings that the phase was trained with. What is not recorded is left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from triptych.data.readers.tables import is_hub
from triptych.files import Record, write_text
from triptych.runs import RunFolder
from triptych.settings import default_of, load_yaml, plain
from triptych.training.config import TrainingConfig
from triptych.training.grpo_config import GRPOConfig

CARD = "README.md"
USE = "## Use"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_LEFT_OUT = ("seconds/", "eval_")
_SETTINGS = ("triptych.training.sft", "triptych.training.grpo_config", "triptych.training.config")
_SHOWN = ("dtype", "quantize", "stage_tokens", "media", "audio_in_video")


def write_model_card(
    folder: Path, run: RunFolder, phase: str, settings: TrainingConfig, base: str
) -> None:
    """Write the card into the folder of a trained model.

    Args:
        folder: the model's.
        run: the run that it was trained in.
        phase: the phase that trained it.
        settings: of that phase.
        base: hub id or folder of the model that it began from.
    """
    adapter = (folder / "adapter_config.json").exists()
    write_text(folder / CARD, model_card(run, phase, settings, base, adapter=adapter))


def model_card(
    run: RunFolder, phase: str, settings: TrainingConfig, base: str, *, adapter: bool
) -> str:
    """The text of the card; see `write_model_card`. `adapter`: the folder holds only an adapter."""
    config = load_yaml(run.config_path)[0] if run.config_path.exists() else {}
    environment = run.environment() if run.environment_path.exists() else {}
    data = [str(config[key]) for key in ("train", "validation") if config.get(key)]
    method = "grpo" if isinstance(settings, GRPOConfig) else "sft"
    parts = [
        _front_matter(base, data, method, adapter=adapter),
        f"# {Path(base).name}, {phase}",
        _about(base, str(config.get("model", base)), method, adapter=adapter),
        *_method(settings, config),
        *_data(environment, phase),
        *_figures(run, phase, settings),
        *_versions(environment),
        use_section(base, adapter=adapter),
    ]
    return "\n\n".join(parts) + "\n"


def exported_card(adapter_card: str, base: str) -> str:
    """The card of an adapter, made into that of the model that it was merged into."""
    header, _, body = adapter_card.removeprefix("---\n").partition("\n---\n")
    fields_of_header = yaml.safe_load(header) or {}
    fields_of_header["library_name"] = "transformers"
    if "base_model_relation" in fields_of_header:
        fields_of_header["base_model_relation"] = "finetune"
    body = body.partition(USE)[0].strip()
    merged = f"The adapter that is described here has been merged into the weights of `{base}`."
    parts = [_header(fields_of_header), body, merged, use_section(base, adapter=False)]
    return "\n\n".join(part for part in parts if part) + "\n"


def use_section(base: str, *, adapter: bool) -> str:
    """How the model is loaded; the last section of the card."""
    lines = [
        USE,
        "`FOLDER` is the folder of this card. Every command of Triptych takes it as its model:",
        '```bash\ntriptych ask FOLDER clip.mp4 "What does the person intend?"\n'
        "triptych eval runs/eval --model FOLDER --data DATA\n```",
        "```python\nfrom triptych.models import OmniModel\n\n"
        'model = OmniModel.from_pretrained("FOLDER")\n```',
    ]
    if adapter:
        lines.append(
            f"The folder holds an adapter in PEFT's form, which is loaded beside `{base}`; "
            "`triptych export FOLDER OUT` merges the two into an ordinary model."
        )
    return "\n\n".join(lines)


def _front_matter(base: str, data: Sequence[str], method: str, *, adapter: bool) -> str:
    datasets = list(dict.fromkeys(one.split(":")[1] for one in data if is_hub(Path(one))))
    header = {
        "base_model": base if _HUB_ID.fullmatch(base) and not Path(base).exists() else None,
        "base_model_relation": "adapter" if adapter else "finetune",
        "datasets": datasets,
        "library_name": "peft" if adapter else "transformers",
        "tags": ["triptych", "omni-modal", method, *(["lora"] if adapter else [])],
    }
    if header["base_model"] is None:  # the hub knows no folders of this machine
        del header["base_model_relation"]
    return _header({key: value for key, value in header.items() if value})


def _header(header: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)
    return f"---\n{text}---"


def _about(base: str, start: str, method: str, *, adapter: bool) -> str:
    how = {
        "sft": "by supervised fine-tuning on reference completions",
        "grpo": "by GRPO with a reward per stage",
    }[method]
    what = "An adapter for" if adapter else "Trained from"
    # Of a cold start by an adapter, reinforcement goes on with the adapter.
    began = f" It began from `{start}`." if start != base else ""
    return (
        f"{what} `{base}`, {'trained ' if adapter else ''}{how}. It answers in three panels, "
        "`<context>`, `<think>` and `<answer>`: first what is seen and heard, then the way from "
        f"there to the answer.{began}"
    )


def _method(settings: TrainingConfig, config: Record) -> Iterator[str]:
    yield "## Method"
    if isinstance(settings, GRPOConfig):
        yield (
            f"Credit: `{settings.scheme}`. {settings.num_generations} completions per prompt, "
            f"{settings.prompts_per_step} prompts a step; penalty for leaving the reference "
            f"{settings.beta:g}."
        )
        sources = config.get("rewards") or {}
        rows = [
            (name, sources.get(name, "-"), _cell(plain(weight)))
            for name, weight in settings.weights.items()
        ]
        yield _table(("reward", "given by", "weight"), rows)
    # A command adds settings of its own, most of which are paths.
    cls = next(one for one in type(settings).__mro__ if one.__module__ in _SETTINGS)
    changed = [
        (field.name, _cell(plain(value)))
        for field in fields(cls)
        if field.name not in ("weights", "scheme")
        and (value := getattr(settings, field.name)) != default_of(field)
    ]
    shown = [(name, _cell(config[name])) for name in _SHOWN if config.get(name)]
    if changed or shown:
        yield "Settings that are not the default, and what the model saw and heard of a clip:"
        yield _table(("setting", "value"), [*changed, *shown])


def _data(environment: Record, phase: str) -> Iterator[str]:
    if not environment.get("data"):
        return
    yield "## Data"
    yield _table(("file", "SHA-256"), list(environment["data"].items()))
    if note := environment.get("skipped", {}).get(phase):
        yield f"Of {note['checked']} samples {note['skipped']} could not be used and were left out."


def _figures(run: RunFolder, phase: str, settings: TrainingConfig) -> Iterator[str]:
    lines = run.metrics(phase) if run.metrics_path.exists() else []
    trained = [line for line in lines if "loss" in line]
    if trained:
        yield "## Training"
        yield f"The last metrics, at step {trained[-1]['step']}:"
        rows = [
            (name, _cell(value))
            for name, value in trained[-1].items()
            if name not in ("step", "phase", "epoch") and not name.startswith(_LEFT_OUT)
        ]
        yield _table(("metric", "value"), rows)
    measured = [line for line in lines if any(key.startswith("eval_") for key in line)]
    if measured:
        yield "## Validation"
        chosen, why = _chosen(measured, settings)
        yield f"At step {chosen['step']}, {why}:"
        rows = [(key, _cell(value)) for key, value in chosen.items() if key.startswith("eval_")]
        yield _table(("metric", "value"), rows)


def _chosen(measured: Sequence[Record], settings: TrainingConfig) -> tuple[Record, str]:
    """The evaluation whose checkpoint this model is, and why."""
    if settings.best_metric is None:
        return measured[-1], "the last evaluation"
    # As Trainer does: the name may stand without its prefix, and step 0 is no checkpoint.
    name = f"eval_{settings.best_metric.removeprefix('eval_')}"
    able = [line for line in measured if line["step"] and line.get(name) is not None]
    if not able:
        return measured[-1], "the last evaluation"
    best = max if settings.best_is_highest else min
    return best(able, key=lambda line: line[name]), f"where `{name}` was best"


def _versions(environment: Record) -> Iterator[str]:
    if not environment:
        return
    yield "## Versions"
    named = [f"{name} {number}" for name, number in environment.get("versions", {}).items()]
    on = ", ".join(environment.get("accelerators") or [f"{environment.get('cpu_count')} CPU cores"])
    yield f"{', '.join(named)}. Trained on {on}, seed {environment.get('seed')}."


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
