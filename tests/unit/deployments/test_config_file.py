"""The configuration files, and what is refused in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.app import SPECIALISTS, bind, deployments_of
from deployments.args import AppArgs
from deployments.config_file import read_config
from tests.serve.fakes import FakeLoaders
from vitron.routing import NAMES

ROOT = Path(__file__).parents[3]
FILES = ["serve_config.yaml", "cluster/serve_config.gpu.yaml"]
RARE = {"ImageEditor", "VideoGenerator", "ImageAnimator", "VideoSegmenter", "VideoEditor"}
"""These may sleep until they are asked for."""


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_configuration_is_valid_and_complete(name: str) -> None:
    config = read_config(ROOT / name)
    (application,) = config.applications
    args = AppArgs.model_validate(application.args)
    assert [d.name for d in application.deployments] == list(deployments_of(args))
    for deployment in application.deployments:
        if deployment.name == "JobRunner":  # takes its work from the store, so it is not scaled by requests
            assert isinstance(deployment.num_replicas, int) and deployment.num_replicas >= 1
            continue
        scaling: Any = deployment.autoscaling_config
        assert scaling["min_replicas"] >= (0 if deployment.name in RARE else 1)
        assert scaling["target_ongoing_requests"] < deployment.max_ongoing_requests
        assert deployment.max_queued_requests > 0
    limits = args.limits
    gateway = application.deployments[0]
    assert limits.max_active < gateway.max_ongoing_requests
    assert limits.request_timeout_s < config.http_options.request_timeout_s
    assert gateway.graceful_shutdown_timeout_s > limits.request_timeout_s


def change(path: str, value: Any) -> dict[str, Any]:
    document = yaml.safe_load((ROOT / FILES[0]).read_text())
    *parents, last = path.split(".")
    node: Any = document
    for key in parents:
        node = node[int(key)] if key.isdigit() else node[key]
    node[int(last) if last.isdigit() else last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("applications.0.deployments.0.max_ongoing_request", 5, "max_ongoing_request"),
        ("applications.0.deployments.2.autoscaling_config.min_replica", 1, "min_replica"),
        ("applications.0.deployments.1.ray_actor_options.num_cpu", 1, "num_cpu"),
        ("http_options.prt", 1, "http_options.prt"),
        ("target", 1, "target"),
        ("applications.0.deployments.3.name", "RegionEncoders", "RegionEncoders"),
        ("applications.0.args.placement", "colocated", "colocated"),
        ("applications.0.args.placement", "together", "placement"),
        ("applications.0.args.preset", "huge", "huge"),
        ("applications.0.args.limits", {"max_token": 5}, "max_token"),
        ("applications.0.args.weights", "/none", "weights"),
        ("applications.0.args.specialists", ["gligen", "nobody"], "nobody"),
        ("applications.0.args.specialists", ["gligen", "gligen"], "each once"),
        ("applications.0.deployments.5.name", "Painter", "Painter"),
        ("applications.0.args.fetch", {"allowed_networks": ["10.0.0.0/99"]}, "10.0.0.0/99"),
        ("applications.0.deployments.0.max_ongoing_requests", 0, "max_ongoing_requests"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, path: str, value: Any, reason: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(change(path, value)))
    with pytest.raises(ValueError, match=reason):
        read_config(file)


def test_entries_of_specialists_that_are_not_served_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(change("applications.0.args.specialists", ["seem"])))
    names = {deployment.name for deployment in read_config(file).applications[0].deployments}
    assert {"Segmenter", "LanguageModel"} <= names
    assert names & set(SPECIALISTS.values()) == {"Segmenter"}


def test_every_specialist_has_a_deployment_and_an_entry() -> None:
    assert set(SPECIALISTS) == set(NAMES)
    for name in FILES:
        entries = yaml.safe_load((ROOT / name).read_text())["applications"][0]["deployments"]
        assert {entry["name"] for entry in entries} >= set(SPECIALISTS.values())


@pytest.mark.parametrize("text", ["a: [", "- a", ""])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml"):
        read_config(file)


@pytest.mark.parametrize("placement", ["split", "colocated"])
def test_the_graph_binds_for_each_placement(placement: str) -> None:
    app = bind(AppArgs(placement=placement), FakeLoaders())  # type: ignore[arg-type]
    assert app._bound_deployment.name == "Gateway"
