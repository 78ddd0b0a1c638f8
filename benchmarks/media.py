"""Sampling a long film without decoding all of it, beside torchcodec; decoding by several workers.

    make bench-media

*Sampling.* Sixteen frames of ten minutes at 720p, from opening the file to RGB arrays of full size,
on one thread: by `decode_video`; by decoding every frame; by torchcodec, told the same times, with
its own exact index and with one guessed from the header. All take turns. The frames of the first
two must be the same to the bit. The film is drawn by this program and kept in the folder for
temporary files: a window that wanders over a picture with a cut every seven seconds, H.264 with
B-frames, a keyframe at each cut.

*Workers.* The same film's first twenty seconds, two frames a second, decoded over and over by a
`DecodePool` of one process and by one of two.

torchcodec needs the libraries of FFmpeg 4 to 8 where the loader finds them; without them its rows
say so.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias, cast

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import (
    Spread,
    alternate,
    environment,
    figure,
    markdown,
    write_json,
)
from triptych.data.containers import opened, video_stream
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import MediaBudget, decode_video
from triptych.data.media.frames import decode_all
from triptych.data.sample import Media, MediaKind

LEAST_SPEEDUP = 5.0
"""Target of sampling against decoding all."""
MOST_TO_PEER = 1.3
"""Target of sampling against torchcodec."""
LEAST_SCALING = 1.6
"""Target of two workers against one."""

SIZE, FPS, SECONDS, FRAMES = (1280, 720), 25, 600, 16
CUT = 7  # seconds
SAMPLED = MediaBudget(max_frames=FRAMES, max_seconds=SECONDS, max_pixels=SIZE[0] * SIZE[1])
WORKED = MediaBudget(fps=2.0, max_frames=100, max_seconds=20.0)

Record: TypeAlias = dict[str, Any]
Pictures: TypeAlias = NDArray[np.uint8]

_PACKAGES = ("triptych", "av", "numpy", "torch", "torchcodec")


# ---------------------------------------------------------------- the film


def long_film() -> Path:
    """The film, drawn once."""
    path = Path(tempfile.gettempdir()) / f"triptych-bench-{SECONDS}s-{SIZE[1]}p.mp4"
    if not path.exists():
        print("drawing the film, a few minutes once", flush=True)
        unfinished = path.with_suffix(".part.mp4")
        _draw(unfinished)
        unfinished.rename(path)
    return path


def _draw(path: Path) -> None:
    rng, (width, height) = np.random.default_rng(0), SIZE
    picture = [_landscape(rng, 2 * height, 2 * width), *(_landscape(rng, height, width),) * 2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "25"}
        for number in range(SECONDS * FPS):
            shot, seconds = divmod(number / FPS, CUT)
            x = int((np.sin(seconds * 0.3 + shot * 2.1) + 1) / 2 * (width - 2)) // 2 * 2
            y = int((np.cos(seconds * 0.2 + shot * 1.3) + 1) / 2 * (height - 2)) // 2 * 2
            frame = av.VideoFrame(width, height, "yuv420p")
            frame.pts = number
            for plane, layer, step in zip(frame.planes, picture, (1, 2, 2), strict=True):
                window = layer[y // step : (y + height) // step, x // step : (x + width) // step]
                rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)
                rows[:, : width // step] = window
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _landscape(rng: np.random.Generator, height: int, width: int) -> Pictures:
    """Shades that vary over long, middling and short distances."""
    shades = np.full((height, width), 128.0)
    for step, strength in ((64, 40), (16, 25), (4, 12)):
        coarse = rng.normal(size=(height // step + 1, width // step + 1))
        shades += strength * np.kron(coarse, np.ones((step, step)))[:height, :width]
    return shades.clip(16, 235).astype(np.uint8)


# ---------------------------------------------------------------- sampling


def by_sampling(path: Path) -> Pictures:
    """What is measured."""
    return decode_video(path, SAMPLED).frames


def by_decoding_all(path: Path) -> Pictures:
    """The same frames, every other one decoded too."""
    moments = iter([*(place * SECONDS / FRAMES for place in range(FRAMES)), float("inf")])
    due, shown, pictures = next(moments), None, []
    with opened(path) as container:
        for seconds, frame in decode_all(container, video_stream(container, path), path):
            while shown is not None and seconds > due + 1e-3:
                pictures.append(shown.to_ndarray(format="rgb24", interpolation="AREA"))
                due = next(moments)
            shown = frame
    return np.stack(pictures)


def torchcodec_with(mode: str) -> Callable[[Path], Pictures]:
    """A peer, with one of its two indexes.

    Raises:
        ImportError: it is not installed, or does not find FFmpeg.
    """
    try:
        decoders = importlib.import_module("torchcodec.decoders")
    except (OSError, RuntimeError) as error:
        raise ImportError("torchcodec finds no FFmpeg") from error

    def decode(path: Path) -> Pictures:
        decoder = decoders.VideoDecoder(
            str(path), seek_mode=mode, num_ffmpeg_threads=1, dimension_order="NHWC"
        )
        moments = [place * SECONDS / FRAMES for place in range(FRAMES)]
        return cast(Pictures, decoder.get_frames_played_at(moments).data.numpy())

    return decode


def measure_sampling(path: Path, rounds: int, whole_rounds: int) -> list[Record]:
    """Seconds of each way, as many rounds as it can be waited for."""
    ways: dict[str, Callable[[Path], Pictures]] = {"triptych": by_sampling}
    missing: dict[str, str] = {}
    for mode in ("exact", "approximate"):
        try:
            ways[f"torchcodec, {mode}"] = torchcodec_with(mode)
        except ImportError as error:
            missing[f"torchcodec, {mode}"] = str(error)
    whole, sampled = by_decoding_all(path), by_sampling(path)  # and the file is in memory
    if not np.array_equal(whole, sampled):
        raise SystemExit("sampling and decoding all give different frames")
    seconds: dict[str, list[float]] = {name: [] for name in [*ways, "decoding all"]}
    for number in range(rounds):
        for name in alternate(list(ways), number):
            seconds[name].append(_timed(ways[name], path))
        if number < whole_rounds:
            seconds["decoding all"].append(_timed(by_decoding_all, path))
    records: list[Record] = [
        {"name": name, "seconds": asdict(Spread.of(times))} for name, times in seconds.items()
    ]
    return records + [{"name": name, "missing": cause} for name, cause in missing.items()]


def _timed(decode: Callable[[Path], Pictures], path: Path) -> float:
    start = time.perf_counter()
    decode(path)
    return time.perf_counter() - start


# ---------------------------------------------------------------- workers


def measure_workers(path: Path, rounds: int, jobs: int) -> list[Record]:
    """Videos a second with one worker process and with two, each held to its limits."""
    media = [Media(kind=MediaKind.VIDEO, path=path)] * jobs
    rates: dict[int, list[float]] = {1: [], 2: []}
    with DecodePool(DecodeLimits(workers=1)) as one, DecodePool(DecodeLimits(workers=2)) as two:
        pools = [(1, one), (2, two)]
        for _, pool in pools:
            pool.decode(media[:4], WORKED)  # all have started
        for number in range(rounds):
            for workers, pool in alternate(pools, number):
                start = time.perf_counter()
                pool.decode(media, WORKED)
                rates[workers].append(jobs / (time.perf_counter() - start))
    return [{"workers": n, "videos_per_s": asdict(Spread.of(of_n))} for n, of_n in rates.items()]


# ---------------------------------------------------------------- the report


def verdicts(sampling: Sequence[Record], workers: Sequence[Record]) -> list[Record]:
    """What was reached of what was aimed at, of medians."""
    median = {one["name"]: one["seconds"]["median"] for one in sampling if "seconds" in one}
    ours = median["triptych"]
    one, two = (record["videos_per_s"]["median"] for record in workers)
    figures = [
        ("times as fast as decoding all", median["decoding all"] / ours, ">=", LEAST_SPEEDUP),
        ("times as fast with two workers", two / one, ">=", LEAST_SCALING),
    ]
    if "torchcodec, exact" in median:
        peer = min(value for name, value in median.items() if name.startswith("torchcodec"))
        figures.append(("times the time of torchcodec", ours / peer, "<=", MOST_TO_PEER))
    return [
        {
            "what": what,
            "value": value,
            "target": f"{sign} {bound:g}",
            "met": value >= bound if sign == ">=" else value <= bound,
        }
        for what, value, sign, bound in figures
    ]


def report(record: Record) -> str:
    """The figures as Markdown."""
    sampling = [
        [one["name"], str(Spread(**one["seconds"])) if "seconds" in one else one["missing"]]
        for one in record["sampling"]
    ]
    workers = [
        [str(one["workers"]), str(Spread(**one["videos_per_s"]))] for one in record["workers"]
    ]
    met = [
        [one["what"], figure(one["value"]), one["target"], "met" if one["met"] else "missed"]
        for one in record["verdicts"]
    ]
    return "\n\n".join(
        [
            f"{FRAMES} frames of {SECONDS // 60} minutes at {SIZE[1]}p: medians (quartiles)",
            markdown(["", "seconds"], sampling),
            markdown(["workers", "videos per second"], workers),
            markdown(["", "measured", "target", ""], met),
        ]
    )


def main() -> None:
    """Run all of it, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.media",
        description="Sampling a long film, and decoding by several workers",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/media.json"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--whole-rounds", type=int, default=3, help="of decoding all")
    args = parser.parse_args()
    path = long_film()
    sampling = measure_sampling(path, args.rounds, args.whole_rounds)
    workers = measure_workers(path, args.rounds, jobs=12)
    record = {
        "environment": environment(_PACKAGES) | {"ffmpeg": av.ffmpeg_version_info},
        "settings": {
            "seconds": SECONDS,
            "size": list(SIZE),
            "frames": FRAMES,
            "file_mib": path.stat().st_size / 2**20,
            "rounds": args.rounds,
            "rounds_of_decoding_all": args.whole_rounds,
        },
        "sampling": sampling,
        "workers": workers,
        "verdicts": verdicts(sampling, workers),
    }
    write_json(args.out, record)
    print(report(record))
    print(f"\nWritten to {args.out}")


if __name__ == "__main__":
    main()
