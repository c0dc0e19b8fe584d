"""The seven steps as recipes: what each trains, what it sees, and that what it writes can be served."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.unit.train.language_presets import QUICK, register, weights_folder
from train.__main__ import main
from train.data.collate import Batch, Collator
from train.data.sample import Sample
from train.recipe import Job
from train.recipes import CHAIN, find, language_recipe
from train.recipes.language_data import Batches, Plan, open_mixture, pattern
from train.recipes.language_objective import Conversations
from train.recipes.language_recipe import Scores
from train.saver import open_run
from train.session import Run, train_here
from train.settings import Settings
from train.ship import chain, ship
from vitron.language import load_language
from vitron.model import Vitron
from vitron.presets import preset
from vitron.prompt import user_message
from vitron.weights import Weights, read_state

SILENT: Callable[[str], None] = lambda line: None  # noqa: E731
STEPS = ("alignment", "invocation", "decoder", "image-grounding", "video-grounding", "grounded-qa", "synergy")
OFF = "train.recipes.synergy:synergy_off"


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    """Weights to start from; the twins of both presets are known by name."""
    folder = tmp_path_factory.mktemp("language")
    with pytest.MonkeyPatch.context() as patch:
        register(patch, folder / "stock")
        yield Weights(weights_folder(folder / "weights"))


def job(name: str, kind: str, weights: Weights, **changes: str) -> Job:
    recipe = find(name, kind)
    return recipe.build(weights, recipe.settings.changed({**QUICK, **changes}))


def group(name: str) -> str:
    """Name what a parameter belongs to, finer than by part where a part is trained in pieces."""
    part, _, rest = name.removeprefix("parts.").partition(".")
    if rest.startswith("field."):
        return "motion field"
    if part == "lora":
        return "adapters" if "lora_" in rest else "tokens" if "trainable_tokens" in rest else "stock LLM"
    return rest.partition(".")[0] if part == "language_heads" else part


def groups(made: Job, *, trained: bool) -> set[str]:
    return {group(n) for n, p in made.objective.named_parameters() if p.requires_grad == trained}


FRONT = {"region_encoder", "video_projector"}
PROJECTIONS = {"gligen_projection", "seem_projection", "zeroscope_projection", "i2vgen_projection"}
SPECIALISTS = {"clip_text", "gligen_vae", "gligen_unet", "seem"}
IN_FULL = {
    "alignment": {"language_model", *FRONT},
    "invocation": {"language_model", *FRONT, *PROJECTIONS},
    "decoder": {"language_model", *PROJECTIONS},
    "image-grounding": {"language_model", *FRONT, *PROJECTIONS},
    "video-grounding": {"language_model", *FRONT, *PROJECTIONS},
    "grounded-qa": {"language_model", *FRONT, *PROJECTIONS},
    "synergy": {"language_model", "discriminator", *PROJECTIONS},
    OFF: {"language_model", "discriminator", *PROJECTIONS},
}
"""What learns where the LLM has no pre-training."""
PAPER = {
    "alignment": {"projector", *FRONT},
    "invocation": {"adapters", "tokens"},
    "decoder": {"tokens", "signal_head", *PROJECTIONS},
    "image-grounding": {"adapters", "tokens", "projector", *FRONT},
    "video-grounding": {"adapters", "tokens", "projector", *FRONT},
    "grounded-qa": {"adapters", "tokens", "projector", *FRONT},
    "synergy": {"adapters", "tokens", "signal_head", "discriminator", *PROJECTIONS},
    OFF: {"adapters", "tokens", "signal_head", "discriminator", *PROJECTIONS},
}
"""What learns in the paper."""


@pytest.mark.parametrize("name", [*STEPS, OFF])
@pytest.mark.parametrize(("kind", "expected"), [("whole", IN_FULL), ("adapted", PAPER)])
def test_each_step_trains_exactly_the_parts_that_it_should(
    begin: Weights, name: str, kind: str, expected: dict[str, set[str]]
) -> None:
    made = job(name, kind, begin)
    assert groups(made, trained=True) == expected[name]
    assert "motion field" in groups(made, trained=False)
    assert not groups(made, trained=True) & groups(made, trained=False)  # All of it, not some of it.
    assert "clip_vision" in groups(made, trained=False)
    recipe = find(name, kind)
    assert {part for part, rate in recipe.rates.items() if rate} == {
        part for part, module in made.objective.parts.items() if any(p.requires_grad for p in module.parameters())
    }


@pytest.mark.parametrize("name", ["decoder", "synergy"])
@pytest.mark.parametrize("kind", ["whole", "adapted"])
def test_steps_that_teach_the_signal_hold_the_specialists_frozen_and_the_others_hold_none(
    begin: Weights, name: str, kind: str
) -> None:
    assert groups(job(name, kind, begin), trained=False) >= SPECIALISTS
    assert not groups(job("alignment", kind, begin), trained=False) & SPECIALISTS


@pytest.mark.parametrize("name", STEPS)
def test_the_full_preset_has_the_papers_numbers(name: str) -> None:
    settings = find(name, "vitron-7b").settings
    batch, lr = {"synergy": (128, 1e-5)}.get(name, (128, 3e-4))
    if "grounding" in name or "grounded" in name:
        batch, lr = 90, 1e-5
    assert (settings.batch, settings.lr, settings.muon_lr, settings.ema) == (batch, lr, 0.0, 0.0)
    assert settings.micro_batch <= settings.batch // 2


def test_the_chain_holds_the_papers_steps_in_their_order() -> None:
    assert [name for name in CHAIN if name in STEPS] == list(STEPS)
    assert all(find(name, "tiny").name == name for name in STEPS)


def test_a_rehearsal_measures_fewer_samples_of_every_task(begin: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_recipe, "REPLIES", 20)
    counts = []
    for share in ("1", "0.25"):
        scores = job("alignment", "whole", begin, held_out=share).validate
        assert isinstance(scores, Scores)
        counts.append({len(scores.held.samples(task)) for task in scores.held.tasks})
    assert counts == [{20}, {5}]


def test_both_sides_of_the_game_run_without_momentum() -> None:
    for kind in ("tiny", "vitron-7b"):
        settings = find("synergy", kind).settings
        assert settings.betas[0] == 0.0 and settings.muon_lr == 0.0


def texts(batches: dict[str, Batch]) -> dict[str, list[list[int]]]:
    return {kind: batch.ids.tolist() for kind, batch in batches.items()}


def test_a_micro_batch_follows_from_its_number_and_the_seed_alone(begin: Weights) -> None:
    made = job("grounded-qa", "whole", begin, batch="30", micro_batch="15")
    again = job("grounded-qa", "whole", begin, batch="30", micro_batch="15")
    other = job("grounded-qa", "whole", begin, batch="30", micro_batch="15", seed="1")
    later = texts(made.batches(7))
    assert set(later) == {"chat", "clip", "request"}
    made.batches(0)
    assert texts(made.batches(7)) == later
    assert texts(again.batches(7)) == later
    assert texts(pickle.loads(pickle.dumps(made.batches))(7)) == later
    assert texts(other.batches(7)) != later != texts(made.batches(8))


def test_steps_show_different_pictures(begin: Weights) -> None:
    first, second = (job(name, "whole", begin, batch="30", micro_batch="15") for name in ("alignment", "invocation"))
    pixels = [made.batches(0)["chat"].pixels for made in (first, second)]
    assert pixels[0] is not None and pixels[1] is not None
    assert not any(torch.equal(a, b) for a in pixels[0] for b in pixels[1])


class Noted(Collator):
    """Collates to the ids of the samples."""

    def __call__(self, samples: list[Sample], progress: float = 0.0) -> list[str]:  # type: ignore[override]
        return [sample.id for sample in samples]


@pytest.mark.parametrize("micro", [1, 5, 6, 15])
def test_any_size_of_micro_batch_makes_the_same_steps(begin: Weights, micro: int) -> None:
    plan = Plan(
        single={"vqa": 2, "track_text": 1},
        packed={"vqa": 1},
        share=Fraction(1, 3),
        clips={"video_qa": 1},
        clip_share=Fraction(1, 5),
        turns=2,
    )
    drawn = []
    for size in (micro, 30):
        settings = Settings(steps=2, batch=30, micro_batch=size)
        batches = Batches(plan, settings, Noted(preset("tiny"), begin.tokenizer()))
        made = [batches(number) for number in range(2 * settings.micro_batches)]
        drawn.append(Counter(name for each in made for found in each.values() for name in found))
        assert sum(len(each["chat"]) for each in made if "chat" in each) == 20
        assert sum(len(each["clip"]) for each in made if "clip" in each) == 12
    assert drawn[0] == drawn[1]
    assert max(drawn[0].values()) == 1


def test_kinds_of_samples_are_spread_evenly() -> None:
    thirds = pattern({"chat": Fraction(1, 3), "request": Fraction(2, 3)})
    assert sorted(thirds) == ["chat", "request", "request"]
    spread = pattern({"chat": Fraction(4, 15), "clip": Fraction(2, 15), "request": Fraction(9, 15)})
    assert Counter(spread) == {"chat": 4, "clip": 2, "request": 9}
    assert all("request" in spread[start : start + 3] for start in range(13))
    with pytest.raises(ValueError, match="parts of 1"):
        pattern({"chat": Fraction(2, 3), "clip": Fraction(2, 3), "request": Fraction(-1, 3)})


@pytest.mark.parametrize(("name", "kind"), [("alignment", "whole"), ("invocation", "adapted"), ("decoder", "whole")])
def test_a_few_steps_reduce_the_loss(begin: Weights, name: str, kind: str) -> None:
    made = job(name, kind, begin, micro_batch="6")
    torch.manual_seed(0)
    optimizer = torch.optim.Adam([p for p in made.objective.parameters() if p.requires_grad], 3e-3)
    batch = made.batches(1)
    made.objective.train()
    losses = []
    for _ in range(6):
        torch.manual_seed(0)  # the same noise
        optimizer.zero_grad()
        loss = torch.stack(list(made.objective(batch).values())).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


def test_what_is_frozen_stays_in_evaluation_mode_and_untouched(begin: Weights) -> None:
    made = job("synergy", "whole", begin, micro_batch="6")
    made.objective.train()
    modes = {name: part.training for name, part in made.objective.parts.items()}
    assert {name for name, training in modes.items() if training} == IN_FULL["synergy"]
    for number in range(3):  # together they invoke both specialists
        torch.stack(list(made.objective(made.batches(number)).values())).sum().backward()
    with_gradient = {group(n) for n, p in made.objective.named_parameters() if p.grad is not None}
    assert with_gradient == IN_FULL["synergy"]


def shared_gradient(made: Job, progress: float) -> Tensor:
    """Return the gradient of the discriminator's loss at the head of v^s."""
    batches = {kind: dataclasses.replace(batch, progress=progress) for kind, batch in made.batches(1).items()}
    head = made.objective.parts["language_model"].signal_head.shared.weight
    return torch.autograd.grad(made.objective(batches)["task"], head)[0]


def test_the_adversary_turns_the_gradient_up_with_progress_and_can_be_switched_off(begin: Weights) -> None:
    game = job("synergy", "whole", begin)
    start, middle = shared_gradient(game, 0.0), shared_gradient(game, 0.5)
    assert start.norm() == 0 < middle.norm()
    assert shared_gradient(job(OFF, "whole", begin), 0.5).norm() == 0


@pytest.mark.parametrize(("kind", "goes_on"), [("whole", False), ("adapted", True)])
def test_the_adversary_reaches_adapters_but_no_llm_that_learns_as_a_whole(
    begin: Weights, kind: str, goes_on: bool
) -> None:
    game = job("synergy", kind, begin)
    lost = game.objective({name: dataclasses.replace(b, progress=0.5) for name, b in game.batches(1).items()})["task"]
    named = [(n, p) for n, p in game.objective.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(lost, [p for _, p in named], allow_unused=True)
    reached = {n for (n, _), g in zip(named, found, strict=True) if g is not None and g.norm() > 0}
    behind = {n for n in reached if "discriminator" not in n and "signal_head" not in n}
    assert any("signal_head.shared" in n for n in reached) and bool(behind) == goes_on


@pytest.mark.parametrize("name", ["grounded-qa", "decoder"])
def test_teachers_read_texts_where_the_objective_is(begin: Weights, name: str) -> None:
    objective = job(name, "whole", begin).objective.to("meta")
    assert isinstance(objective, Conversations) and {*objective.teachers} >= {"gligen", "seem", "zeroscope"}
    read: list[str] = []
    objective.parts["clip_text"].register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].device.type), with_kwargs=True
    )
    for teacher in objective.teachers.values():
        assert teacher.states(("a red circle", "a blue star")).device.type == "meta"
    assert len(read) == 3 and set(read) == {"meta"}


def test_both_runs_of_the_ablation_differ_in_the_adversary_alone() -> None:
    game, off = find("synergy"), find(OFF)
    assert (game.settings, dict(game.rates)) == (off.settings, dict(off.rates))


def test_data_sets_replace_the_worlds_own_mixture(begin: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    class Photos:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Sample:
            return dataclasses.replace(open_mixture("caption=1", 0)[index], id=f"photos/{index}")

    opened = []
    monkeypatch.setattr(
        "train.data.sources.open_source", lambda *place, **options: opened.append((place, options)) or Photos()
    )
    mixed = open_mixture("caption=1,cc3m:caption@/data/cc3m=2", 4)
    assert opened == [(("cc3m", "/data/cc3m", "train"), {"task": "caption", "seed": 4})]
    assert Counter(mixed[n].id.split("/")[0] for n in range(9)) == {"shapes": 3, "photos": 6}
    made = job("alignment", "whole", begin, data="cc3m@/data/cc3m=1")
    assert set(made.batches(0)) == {"request"}
    # Photos may well show the pairs that Shapes hold back.
    assert made.objective.unseen is None and job("alignment", "whole", begin).objective.unseen is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caption", "expected NAME"),
        ("caption=0", "caption: got 0"),
        ("dance=1", "'dance' without a folder"),
        ("caption=1,caption=2", "twice"),
        ("nonsense@/x=1", "name: got 'nonsense'"),
    ],
)
def test_a_wrong_mixture_names_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_mixture(text, 0)


def run(name: str, kind: str, url: Path, start: str, **changes: str) -> Run:
    recipe = find(name, kind)
    return Run(name, recipe, recipe.settings.changed({**QUICK, **changes}), str(url), start)


def test_a_chain_of_steps_trains_on_is_shipped_and_answers(begin: Weights, tmp_path: Path) -> None:
    start = str(begin.folder)
    for name in ("alignment", "decoder"):
        train_here(run(name, "whole", tmp_path / name, start), say=SILENT)
        start = str(tmp_path / name)
    ended = open_run("whole", start)
    assert [folder.folder.parent.name for folder in chain(ended)[:2]] == ["decoder", "alignment"]
    assert ended.find("region_encoder.safetensors").parent.parent == tmp_path / "alignment"
    assert not (ended.folder / "seem.safetensors").exists()
    assert sorted(path.name for path in (tmp_path / "decoder/samples").iterdir()) == [
        "generate.png", "generate.txt", "generate_like.png", "generate_like.txt"
    ]  # fmt: skip
    assert [path.name for path in (tmp_path / "alignment/samples").iterdir()] == ["replies.png"]

    out = tmp_path / "shipped"
    revision = ship(ended, out)
    shipped = Weights(out)
    assert shipped.revision == revision and shipped.base is None
    made = shipped.manifest()["chain"]
    assert [link.get("recipe", link["revision"]) for link in made] == ["begin", "alignment", "decoder"]
    assert made[1]["step"] == made[1]["steps"] == 2 and made[1]["seconds"] >= 0 and "score" in made[1]["metrics"]
    assert str(tmp_path) not in json.dumps(shipped.manifest())
    image = open_mixture("caption=1", 0)[0].images[0]
    served, gathered = (Vitron.from_preset("whole", folder) for folder in (tmp_path / "decoder", out))
    asked = [user_message([image, "describe the picture"])]
    assert served.reply(asked).completion_tokens > 0
    for a, b in zip(served.language.model.parameters(), gathered.language.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)  # fp16
    # A run beside the chain brings what it trained; 8 bits are half of 16.
    train_here(run("alignment", "whole", tmp_path / "beside", str(begin.folder), seed="1"), say=SILENT)
    beside = open_run("whole", str(tmp_path / "beside"))
    ship(ended, tmp_path / "both", ["seem"], [beside])
    both = Weights(tmp_path / "both")
    assert [link.get("recipe") for link in both.manifest()["chain"]][-1] == "alignment"
    for part, source in (("region_encoder", beside), ("seem_projection", shipped)):
        found, wanted = (read_state(each.find(f"{part}.safetensors")) for each in (both, source))
        assert all(torch.allclose(found[name], wanted[name], atol=1e-3) for name in wanted)
    assert (both.folder / "seem.safetensors").stat().st_size < 0.7 * (out / "seem.safetensors").stat().st_size
    with pytest.raises(ValueError, match="eight-bits: got"):
        ship(ended, tmp_path / "wrong", ["unet"])
    # In the place of what the chain began with: nothing is read after it was replaced.
    copy = weights_folder(tmp_path / "again" / "weights")
    train_here(run("alignment", "whole", tmp_path / "more", str(copy), steps="1"), say=SILENT)
    again = ship(open_run("whole", str(tmp_path / "more")), copy)
    assert Weights(copy).revision == again and Weights(copy).has("language_model") and Weights(copy).has("seem")
    # A run that went on from one that was shipped meanwhile: what was shipped is told once.
    train_here(run("alignment", "whole", tmp_path / "last", str(tmp_path / "more"), steps="2"), say=SILENT)
    ship(open_run("whole", str(tmp_path / "last")), copy)
    assert [link.get("steps") for link in Weights(copy).manifest()["chain"]][-2:] == [1, 2]
    assert len(Weights(copy).manifest()["chain"]) == 3


def test_an_adapter_trains_on_where_the_last_run_ended_and_is_served_merged(begin: Weights, tmp_path: Path) -> None:
    start = str(begin.folder)
    for name in ("invocation", "image-grounding"):
        train_here(run(name, "adapted", tmp_path / name, start, lr="0.05"), say=SILENT)
        start = str(tmp_path / name)
    weights = open_run("adapted", start)
    adapter = job("image-grounding", "adapted", weights).objective.parts["lora"]
    layer = adapter.base_model.model.model.layers[0].self_attn.q_proj
    expected = layer.base_layer.weight + layer.get_delta_weight("default")
    served = load_language(preset("adapted"), weights)
    merged = served.model.llama.model.layers[0].self_attn.q_proj.weight
    assert layer.get_delta_weight("default").abs().max() > 1e-3
    torch.testing.assert_close(merged, expected, atol=2e-3, rtol=1e-2)
    trained = served.model.embedding.weight[served.model.signal_ids]
    torch.testing.assert_close(trained, adapter.get_input_embeddings().weight[served.model.signal_ids], atol=2e-3,
                               rtol=1e-2)  # fmt: skip
    ship(weights, tmp_path / "shipped")
    assert load_language(preset("adapted"), Weights(tmp_path / "shipped")).model.signal_ids == served.model.signal_ids


def test_only_trained_checkpoints_with_a_whole_chain_are_shipped(begin: Weights, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a run"):
        ship(begin, tmp_path / "out")
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "manifest.json").write_text(json.dumps({"base": str(tmp_path / "gone")}))
    with pytest.raises(ValueError, match="gone, which is not there"):
        ship(Weights(lost), tmp_path / "out")
    (lost / "manifest.json").write_text(json.dumps({"base": str(tmp_path)}))
    with pytest.raises(ValueError, match="no tokenizer"):
        ship(Weights(lost), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shipping_from_the_command_line_names_what_is_missing(
    begin: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ship", "--start", str(begin.folder)]) == 2
    assert "--start and --out are needed" in capsys.readouterr().err
    assert main(["ship", "--start", str(tmp_path / "gone"), "--out", str(tmp_path / "out")]) == 2
    assert "gone" in capsys.readouterr().err
    trained = tmp_path / "run/step-00000001"
    trained.mkdir(parents=True)
    (tmp_path / "run/latest").write_text(trained.name)
    (trained / "manifest.json").write_text(json.dumps({"base": str(begin.folder), "recipe": "alignment", "step": 1}))
    assert main(["ship", "--start", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0
    assert Weights(tmp_path / "out").revision in capsys.readouterr().out
    assert Weights(tmp_path / "out").has("seem")
