"""The paper's analyses: what is done once, what is comparable, and what the rows alone can show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.train.language_presets import weights_folder, whole
from train.ablations import __main__ as command
from train.ablations import frames, grounding, message, pairs, steps, synergy
from train.ablations.page import write_page
from train.ablations.rows import Book, Conditions, Row, label
from train.ablations.study import Measured, Options, Part, carry_out
from train.recipes import find, language_scores
from train.recipes.language_recipe import CLIP_INVOKING, INVOKING
from vitron.invocation import parse_reply
from vitron.presets import PRESETS
from vitron.routing import NAMES
from vitron.types import Module, Reply
from vitron.weights import ASSETS, Weights

SCHEMA = ["study", "variant", "task", "metric", "value", "n", "seed"]
TINY = Weights(ASSETS / "tiny")


def quiet(line: str) -> None:
    """Take a line of progress."""


def nothing() -> None:
    """Draw nothing."""


class Counting:
    """A study that counts how often its parts are done."""

    NAME, ABOUT, TRAINS = "counting", "counts", True

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []

    def parts(self, options: Options, say: object) -> list[Part]:
        return [
            Part(variant, seed, lambda v=variant, s=seed: self._measure(v, s, options))
            for seed in options.seeds
            for variant in ("on", "off")
        ]

    def _measure(self, variant: str, seed: int, options: Options) -> Sequence[Measured]:
        self.done.append((variant, seed))
        return [Measured("vqa", "right", 0.123456789, options.n)]


def row(study: str, variant: str, task: str, metric: str, value: float, seed: int = 0) -> Row:
    return Row(study=study, variant=variant, task=task, metric=metric, value=value, n=50, seed=seed)


def test_rows_are_written_by_their_schema_after_every_part(tmp_path: Path) -> None:
    seen: list[int] = []

    def read() -> None:
        seen.append(len(json.loads((tmp_path / "ablations.json").read_text())))

    carry_out(Counting(), Options(start=TINY, n=7), Book(tmp_path), quiet, read)
    written = json.loads((tmp_path / "ablations.json").read_text())
    assert seen == [1, 2] and [list(item) for item in written] == [SCHEMA, SCHEMA]
    assert written[0] == {
        "study": "counting",
        "variant": "off",
        "task": "vqa",
        "metric": "right",
        "value": 0.12346,
        "n": 7,
        "seed": 0,
    }


def test_what_is_done_is_not_done_again_and_new_seeds_are_added(tmp_path: Path) -> None:
    study, options = Counting(), Options(start=TINY)
    carry_out(study, options, Book(tmp_path), quiet, nothing)
    carry_out(study, options, Book(tmp_path), quiet, nothing)
    assert study.done == [("on", 0), ("off", 0)]
    carry_out(study, replace(options, seeds=(0, 1)), Book(tmp_path), quiet, nothing)
    assert study.done[2:] == [("on", 1), ("off", 1)]
    assert len(Book(tmp_path).rows) == 4


@pytest.mark.parametrize("change", [{"n": 5}, {"budget": 0.5}, {"start": Weights(Path("elsewhere"))}])
def test_rows_made_under_other_conditions_are_replaced(tmp_path: Path, change: dict[str, object]) -> None:
    study, options, lines = Counting(), Options(start=TINY), list[str]()
    Book(tmp_path).add([row("other", "a", "b", "c", 1.0)])
    carry_out(study, options, Book(tmp_path), quiet, nothing)
    carry_out(study, replace(options, **change), Book(tmp_path), lines.append, nothing)
    assert len(study.done) == 4 and "2 rows" in lines[0]
    assert Counter(each.study for each in Book(tmp_path).rows) == {"counting": 2, "other": 1}


def test_a_study_that_failed_keeps_what_it_had(tmp_path: Path) -> None:
    class Failing(Counting):
        def _measure(self, variant: str, seed: int, options: Options) -> Sequence[Measured]:
            if variant == "off":
                raise FloatingPointError("not finite")
            return super()._measure(variant, seed, options)

    with pytest.raises(FloatingPointError):
        carry_out(Failing(), Options(start=TINY), Book(tmp_path), quiet, nothing)
    study = Counting()
    carry_out(study, Options(start=TINY), Book(tmp_path), quiet, nothing)
    assert study.done == [("off", 0)]


def test_weights_are_named_without_their_place() -> None:
    assert label(Weights(Path("/somewhere/runs/decoder/step-00000800"))) == "decoder/step-00000800"
    assert label(TINY) == TINY.revision


def everything() -> list[Row]:
    """Rows of all studies."""
    rows = [
        row("message", mode, "segmentation", metric, value)
        for mode, value in (("text", 0.5), ("signal", 0.6), ("hybrid", 0.7))
        for metric in ("ciou", "giou", "execution_rate")
    ]
    for out, value in zip((None, *grounding.STEPS), (0.61, 0.4, 0.5, 0.6), strict=True):
        rows += [row("grounding", grounding.name(out), "rec", "right", value, seed) for seed in (0, 1)]
    for variant, value in zip(synergy.VARIANTS, (0.2, 0.9), strict=True):
        rows.append(row("synergy", variant, "module", "probe_shared", value))
        rows.append(row("synergy", variant, "generate", "distance", 2 + value))
        rows.append(row("synergy", variant, "training", "samples", 1200))
    rows += [
        row("pairs", "image generation", "image generation", "distance", 2.0),
        row("pairs", "image generation + image segmentation", "image generation", "distance", 1.5),
        row("pairs", "image segmentation", "image segmentation", "distance", 1.0),
        row("pairs", "image generation + image segmentation", "image segmentation", "distance", 1.1),
    ]
    rows += [row("frames", variant, "video_qa", "right", 0.5) for variant in frames.VARIANTS]
    for end, value in (("before", 0.1), ("after", 0.8)):
        rows.append(row("steps", steps.variant("image-grounding", end), "rec", "right", value))
    return rows


def test_tables_and_plots_come_from_the_rows_alone(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.open("synergy", Conditions(weights="v1/step-1", n=50, budget=0.25))
    book.add(everything())
    assert command.main(["--draw", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "ablations.md").read_text()
    assert "| segmentation, ciou | 50 | 50.0 | 60.0 | 70.0 |" in page
    assert "| rec, right | 50 | 61.0 ± 0.0 | 40.0 ± 0.0 | 50.0 ± 0.0 | 60.0 ± 0.0 |" in page
    assert "| module, probe_shared | 50 | 20.0 | 90.0 | +70.0 |" in page
    assert "| generate, distance ↓ | 50 | 2.200 | 2.900 | +0.700 |" in page
    assert "| 2.1 image-grounding: rec, right | 50 | 10.0 | 80.0 | +70.0 |" in page
    assert "weights `v1/step-1`; n = 50 of each task; budget 0.25; 1200 training samples a run" in page
    drawn = sorted(path.stem for path in (tmp_path / "ablations").glob("*.png"))
    shown = ("frames", "grounding", "message", "message-all", "message-execution", "pairs-distance", "steps")
    assert drawn == sorted([*shown, "synergy", "synergy-probes"])
    assert all(f"(ablations/{name}.png)" in page for name in drawn)
    colours = Image.open(tmp_path / "ablations" / "pairs-distance.png").convert("RGB").getcolors(1 << 16)
    assert colours and len(colours) > 4


def test_a_gain_is_relative_to_training_alone_and_has_the_sign_of_what_is_better(tmp_path: Path) -> None:
    Book(tmp_path).add(everything())
    page = write_page(tmp_path).read_text()
    assert "| image generation |  | +25.0 |" in page
    assert "| image segmentation | -10.0 |  |" in page


def test_without_rows_the_page_is_its_header(tmp_path: Path) -> None:
    assert "|" not in write_page(tmp_path).read_text()


def test_a_difference_that_few_samples_cannot_show_is_said_to_be_noise(tmp_path: Path) -> None:
    with_it, without = synergy.VARIANTS
    rows = [row("synergy", with_it, "vqa", "right", 0.70), row("synergy", without, "vqa", "right", 0.66)]
    rows += [row("synergy", with_it, "rec", "right", 0.90), row("synergy", without, "rec", "right", 0.10)]
    Book(tmp_path).add(rows)
    page = write_page(tmp_path).read_text()
    assert "| vqa, right | 50 | 70.0 | 66.0 | -4.0 (within noise) |" in page
    assert "| rec, right | 50 | 90.0 | 10.0 | -80.0 |" in page


def test_the_six_modules_share_out_all_requests() -> None:
    found = pairs.modules()
    assert list(found) == [module.value.lower() for module in Module]
    assert sorted(task for names in found.values() for task in names) == sorted((*INVOKING, *CLIP_INVOKING))


def test_a_pair_trains_on_the_very_samples_of_each_module_alone() -> None:
    both = ("image generation", "video segmentation")
    joint = pairs.Together(both, 5, lambda samples, progress: samples, 4)
    for name in both:
        alone = pairs.Together((name,), 5, lambda samples, progress: samples, 4)
        tasks = pairs.modules()[name]
        for number in range(4):
            mine = [sample.id for sample in joint.samples(number) if sample.task in tasks]
            assert mine == [sample.id for sample in alone.samples(number)] and len(mine) == pairs.EACH
    ids = [sample.id for number in range(4) for sample in joint.samples(number)]
    assert len(set(ids)) == len(ids)


def test_every_chain_of_grounding_steps_sees_as_many_samples() -> None:
    options = Options(start=TINY, budget=0.5)
    seen = {
        out: [each.steps * each.batch for each in grounding.chain(out, options, 0).values()]
        for out in (None, *grounding.STEPS)
    }
    assert {sum(counts) for counts in seen.values()} == {sum(seen[None])}
    assert all(len(counts) == (3 if out is None else 2) for out, counts in seen.items())
    assert "video-grounding" not in grounding.chain("2.2", options, 0)


def checkpoint(folder: Path, **manifest: str) -> Weights:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Weights(folder)


def test_the_steps_of_a_chain_are_found_from_its_end(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "a" / "step-1", recipe="alignment", base="tiny")
    second = checkpoint(tmp_path / "b" / "step-1", recipe="invocation", base=str(first.folder))
    more = checkpoint(tmp_path / "c" / "step-1", recipe="invocation", base=str(second.folder))
    last = checkpoint(tmp_path / "d" / "step-1", recipe="decoder", base=str(more.folder))
    found = steps.chain(last)
    assert [step.recipe for step in found] == ["alignment", "invocation", "decoder"]
    assert [label(step.before) for step in found] == [TINY.revision, "a/step-1", "c/step-1"]
    assert found[1].after == more and steps.chain(TINY) == []


def test_the_execution_rate_counts_what_was_parsed_routed_and_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Assistant:
        specialists = dict.fromkeys(set(NAMES) - {"gligen"})

        def reply_batch(self, conversations, *, seeds=None, message="hybrid", options=None, carry_out=True):
            text = "<Module>Image Segmentation</Module><Instruction>segmentation: it</Instruction>"
            good = Reply(text="", invocation=parse_reply(text).invocation)
            bad = Reply(text="", error="cannot be parsed")
            failed = replace(good, error="seem: no picture")
            answers = {"hybrid": good, "text": bad, "signal": failed}
            return [answers[message] if number % 2 else good for number, _ in enumerate(conversations)]

    monkeypatch.setattr(message, "open_assistant", lambda *_: Assistant())
    monkeypatch.setattr("train.ablations.served.SPECIALIST_TASKS", ("segmentation", "image_generation"))
    options = Options(start=TINY, n=4, predictions=tmp_path / "answers")
    book = Book(tmp_path / "out")
    carry_out(message, options, book, quiet, nothing)
    assert {each.task for each in book.rows} == {"segmentation"}  # nobody draws pictures here
    rates = {each.variant: each.value for each in book.rows if each.metric == "execution_rate"}
    assert rates == {"hybrid": 1.0, "text": 0.5, "signal": 0.5}


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    """Weights without an LLM, for a preset whose LLM costs nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "whole", whole)
        patch.setattr(language_scores, "LONGEST_REPLY", 4)
        patch.setattr(pairs, "EACH", 2)
        patch.setattr(synergy, "BATCH", 15)
        yield Weights(weights_folder(tmp_path_factory.mktemp("ablations") / "weights"))


def test_the_synergy_study_trains_measures_and_leaves_no_run_behind(
    begin: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synergy, "INVOKES", ("segment_text", "generate"))
    monkeypatch.setattr(synergy, "UNDERSTANDS", ("vqa",))
    options = Options(preset="whole", start=begin, budget=0.0125, n=5, served=0, work=tmp_path / "work")
    book, lines = Book(tmp_path / "out"), list[str]()
    carry_out(synergy, options, book, lines.append, nothing)
    found = {(each.variant, each.task, each.metric): each for each in book.rows}
    for variant in synergy.VARIANTS:
        assert found[variant, "training", "samples"].value == 15
        assert found[variant, "module", "probe_majority"].value == 0.5
        assert {"mask_iou", "segmentation", "distance", "right", "tokens"} <= {
            metric for name, task, metric in found if (name, task) == (variant, "segment_text")
        }
        assert found[variant, "generate", "denoising"].n == 5 and (variant, "vqa", "right") in found
    assert any(line.startswith("step 1/1") for line in lines)
    assert not list((tmp_path / "work").rglob("*.safetensors"))
    carry_out(synergy, options, book, lines.append, nothing)
    assert sum(line.startswith("step 1/1") for line in lines) == 2


def test_a_pair_and_its_modules_alone_are_judged_alike(begin: Weights, tmp_path: Path) -> None:
    names = ("image generation", "image segmentation")
    options = Options(preset="whole", start=begin, budget=0.025, n=6, work=tmp_path)
    found = {run: pairs._measure(run, options, 0, quiet) for run in ((names[0],), names)}
    kinds = {run: {(m.task, m.metric, m.n) for m in rows if m.task == names[0]} for run, rows in found.items()}
    assert kinds[(names[0],)] == kinds[names] >= {(names[0], "distance", 6), (names[0], "denoising", 6)}
    assert {m.value for m in found[names] if m.metric == "steps"} == {1}


def test_the_mean_alone_and_frames_see_the_same_samples_and_begin_anew(begin: Weights, tmp_path: Path) -> None:
    jobs = {
        variant: frames.recipe("whole", variant, anew=True).build(begin, find(frames.RECIPE, "whole").settings)
        for variant in frames.VARIANTS
    }
    assert all(frames.PART in job.new for job in jobs.values())
    size = {name: sum(p.numel() for p in job.objective.parts[frames.PART].parameters()) for name, job in jobs.items()}
    assert size[frames.MEAN] < size[frames.FRAMES]
    mean, both = (jobs[name].batches(0)["clip"] for name in (frames.MEAN, frames.FRAMES))
    assert mean.pixels is not None and both.pixels is not None and bool((mean.pixels == both.pixels).all())
    assert mean.ids.shape[1] < both.ids.shape[1]


def test_the_study_of_frames_measures_what_each_run_ended_with(
    begin: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "TASKS", ("video_grounding", "video_qa"))
    options, book = Options(preset="whole", start=begin, budget=0.00625, n=4, work=tmp_path), Book(tmp_path / "out")
    carry_out(frames, options, book, quiet, nothing)
    found = Counter((each.variant, each.metric) for each in book.rows)
    assert {found[name, metric] for name in frames.VARIANTS for metric in ("right", "tokens", "loss")} == {2}
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (["--study", "taste"], "study: got 'taste', expected some of message,grounding,synergy,pairs,frames,steps"),
        (["--seeds", "a"], "seeds: got 'a', expected whole numbers with commas"),
        (["--budget", "0"], "budget: got 0.0, expected a number above 0"),
        (["--tasks", "vqa"], "tasks: got 'vqa', expected some of segmentation,image_generation"),
        (["--start", "nowhere"], "start: got 'nowhere'"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(
    argument: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--out", str(tmp_path), *argument]) == 2
    assert message in capsys.readouterr().err


def test_help_names_every_study(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in command.STUDIES) and "--budget" in shown
