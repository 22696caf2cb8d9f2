import json
import shutil

import jax
import numpy as np
import pytest
from trees import assert_same

from lthjax import federate
from lthjax.federated import partitions
from lthjax.program import progress
from lthjax.program.config import checksums
from lthjax.program.federated import assembly, experiment, ownership, report, settings
from lthjax.program.workdir import results
from lthjax.saving import checkpoints


def tiny(method="cell", **changes):
    config = settings.shrunk(settings.default(method))
    config.data.options.like = "digits"
    config.model.update(name="mlp", options={"hidden": (5,)})
    config.participation, config.rounds = 0.5, 3
    config.update_from_flattened_dict(changes)
    return config


def stopped_after(monkeypatch, rounds):
    """Lets a run be asked to stop in a round."""
    real, seen = experiment._row, []

    def row(*given):
        seen.append(given)
        if len(seen) == rounds:
            raise progress.Interrupted("stopped")
        return real(*given)

    monkeypatch.setattr(experiment, "_row", row)


@pytest.mark.parametrize("saving", [0.0, 1e9])
def test_a_run_that_is_killed_goes_on_with_the_same_bits(tmp_path, monkeypatch, saving):
    config = tiny(drop=0.3)
    whole, final = experiment.run(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "SECONDS", saving)
        stopped_after(patch, 3)
        with pytest.raises(progress.Interrupted):
            experiment.run(config, tmp_path / "cut")
    rows, again = experiment.run(config, tmp_path / "cut")
    assert rows == whole and again == final
    for name in (ownership.ROUNDS, experiment.FINAL):
        one, two = ((tmp_path / run / name).read_text() for run in ("whole", "cut"))
        assert one == two
    trees = [
        checkpoints.newest(tmp_path / run / "state")[0] for run in ("whole", "cut")
    ]
    assert_same(*trees)


def test_over_devices_records_are_the_same_and_rounds_one_program(tmp_path, caplog):
    rows, final = experiment.run(tiny(), tmp_path / "alone")
    with jax.log_compiles():
        spread = experiment.run(tiny(**{"mesh.ticket": 2}), tmp_path / "spread")
    for row in rows:
        row["train_loss"] = pytest.approx(row["train_loss"])
    assert spread == (rows, final)
    compiled = [r for r in caplog.records if "XLA compilation of jit(one)" in r.message]
    assert len(compiled) == 1


def test_a_finished_run_is_not_trained_again_and_takes_more_rounds(
    tmp_path, monkeypatch
):
    rows, _ = experiment.run(tiny(rounds=2), tmp_path)
    more, _ = experiment.run(tiny(rounds=3), tmp_path)
    assert more[:2] == rows and [row["round"] for row in more] == [1, 2, 3]
    stopped_after(monkeypatch, 1)
    assert experiment.run(tiny(rounds=3), tmp_path)[0] == more
    with pytest.raises(ValueError, match="rounds must be at least the 3"):
        experiment.run(tiny(rounds=2), tmp_path)
    with pytest.raises(ValueError, match=r"local.epochs = 2 \(was 1\)"):
        experiment.run(tiny(**{"local.epochs": 2}), tmp_path)


def test_records_that_no_checkpoint_goes_on_from_are_put_aside(tmp_path, caplog):
    config, path = tiny(rounds=1), tmp_path / "rounds.jsonl"
    rows, _ = experiment.run(config, tmp_path)
    whole = path.read_bytes()
    for name in ("rounds.jsonl.outdated", "rounds.jsonl.outdated1"):
        caplog.clear()
        shutil.rmtree(tmp_path / "state")
        again, _ = experiment.run(config, tmp_path)
        assert again == rows and path.read_bytes() == whole
        assert (tmp_path / name).read_bytes() == whole
        assert "the 1 rounds that there are records of are trained" in caplog.text
        assert caplog.text.rstrip().endswith(name)
    experiment.run(config, tmp_path)
    assert len(list(tmp_path.glob("*outdated*"))) == 2


def test_records_come_by_round_without_what_is_of_none(tmp_path, caplog):
    path, mark = tmp_path / "rounds.jsonl", "0123456789abcdef"
    results.append(path, [{"round": 2}, {"round": 1}], ("round",), mark)
    path.write_text("\ufeff{}\n" + path.read_text(), encoding="utf-8")
    assert ownership.records(tmp_path, mark) == [{"round": 1}, {"round": 2}]
    assert "line 1 has no round" in caplog.text


def test_records_say_who_was_asked_lost_and_what_was_sent(tmp_path, caplog):
    rows, final = experiment.run(tiny(drop=1.0, rounds=1), tmp_path)
    (row,) = rows
    assert row["dropped"] == row["asked"] and len(row["asked"]) == 2
    assert row["up_bytes"] == 0 and row["train_loss"] is None
    weights = 64 * 5 + 5 + 5 * 10 + 10
    assert row["down_bytes"] == 4 * weights
    assert len(row["global_by_client"]) == 4 == len(final["masked_by_client"])
    text = report.write(tmp_path, rows, final)
    assert "masked by the client's ticket" in text
    assert (tmp_path / "accuracy_traffic.png").stat().st_size > 1000
    assert report.megabytes([row, row], ("down",))[1] == 8 * weights / 2**20


def test_a_recorded_sparsity_is_that_of_what_a_client_has(tmp_path):
    more = {"policy.threshold": 0.0, "validation": "train", "participation": 1.0}
    more |= {"local.epochs": 10, "local.learning_rate": 0.1}
    config = tiny("cell", rounds=3, **more)
    rows, _ = experiment.run(config, tmp_path)
    parts = assembly.assemble(config)
    local = {"accuracy": 0, "stale": 0}
    like = {"server": parts.start[0], "clients": parts.start[1], "local": local}
    clients = checkpoints.newest(tmp_path / "state", like)[0]["clients"]
    own = [np.asarray(mask).reshape(4, -1) for mask in jax.tree.leaves(clients.masks)]
    kept = np.concatenate(own, 1)
    total, stages = kept.shape[1], rows[-1]["stage_by_client"]
    found = rows[-1]["sparsity_by_client"]
    assert found == [(total - int(row.sum())) / total for row in kept]
    assert rows[-1]["sparsity"] == pytest.approx(np.mean(found))
    assert stages == np.asarray(clients.stage).tolist() and max(stages) > 0


@pytest.mark.parametrize("partition", settings.PARTITION_KEYS)
def test_what_is_shrunk_can_be_dealt_whatever_clients_have(partition):
    config = settings.default("cell", partition)
    given = {"each": 10, "samples": 300, "balance": 0.1, "alpha": 0.5}
    for name in settings.PARTITION_KEYS[partition]:
        config.clients[name] = given[name]
    assert assembly.assemble(settings.shrunk(config)).count == 1


@pytest.mark.parametrize("validation", ["train", "test", "held_out"])
def test_a_draw_of_clients_leaves_each_a_batch_to_train_on(monkeypatch, validation):
    config = settings.shrunk(settings.default("cell", "dirichlet"))
    config.validation, seen = validation, []
    dirichlet = partitions.PARTITIONS["dirichlet"]

    def noted(*given, least, **more):
        seen.append(least)
        return dirichlet(*given, least=least, **more)

    monkeypatch.setitem(partitions.PARTITIONS, "dirichlet", noted)
    assembly.assemble(config)
    least, batch = seen[0], config.local.batch_size
    spared = max(1, least // partitions.HELD_OUT) if validation == "held_out" else 0
    assert least - spared == batch  # no more, no less


def test_accuracies_are_those_of_the_networks_there_are(tmp_path):
    config = tiny("lottery_fl", rounds=2)
    _, final = experiment.run(config, tmp_path)
    parts = assembly.assemble(config)
    tree, _ = checkpoints.newest(
        tmp_path / "state",
        {
            "server": parts.start[0],
            "clients": parts.start[1],
            "local": {"accuracy": 0, "stale": 0},
        },
    )
    who = np.arange(4)
    each = parts.each(tree["clients"].params, who)
    np.testing.assert_allclose(final["local_by_client"], each, rtol=1e-6)
    masked = parts.masked(tree["server"].params, tree["clients"].masks, who)
    np.testing.assert_allclose(final["masked_by_client"], masked, rtol=1e-6)
    everywhere = parts.everywhere(tree["server"].params)
    np.testing.assert_allclose(final["global_by_client"], everywhere, rtol=1e-6)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"local.batch_size": 64}, "a batch of examples to train on"),
        ({"policy.threshold": 1.5}, r"policy.threshold must be in \[0, 1\]"),
        ({"policy.limit": 1.0}, r"policy.limit must be in \[0, 1\)"),
        ({"participation": 2.0}, r"participation must be in \[0, 1\]"),
        ({"clients.samples": 0, "clients.count": 7}, "must divide the 96"),
        ({"model.name": "resnet8", "model.options": {}}, "batch norm"),
        ({"validation": "some"}, "validation must be one of"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        experiment.run(tiny(**changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["config.json", "sweep.json", "data.json"])
def test_a_folder_of_something_else_is_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=f"new or of a federated run, got .* {name}"):
        experiment.run(tiny(rounds=1), tmp_path)


def test_the_command_reads_keys_of_the_method_and_names_others():
    config = federate.configured(
        ["--config.method=lottery_fl", "--config.policy.limit=0.5", "--config.seed=3"]
    )
    assert (config.method, config.policy.limit, config.seed) == ("lottery_fl", 0.5, 3)
    for words, named in (
        (["--config.method=fedavg", "--config.policy.rate=0.5"], "policy.rate"),
        (["--config.metod=cell"], "did you mean 'method'"),
        (["--config.clients.alpha=0.5"], "clients.alpha"),
        (["--config.rounds=many"], "rounds must be like its default"),
        (["--config.method=sell"], "cell"),
        (["--config.method=os:getcwd"], "method must be one of cell, fedavg, "),
        (["--config.clients.partition=os:getcwd"], "partition must be one of"),
        (["--config.model.options=3"], "model.options must be a dict, got .* = 3"),
        (["--config.data.options=3"], "data.options must be a dict"),
        (["--rounds=3"], "--config.key=value"),
    ):
        with pytest.raises(ValueError, match=named):
            federate.configured(words)


def test_the_command_prints_its_keys(capsys):
    federate.main(["--keys", "--config.method=fedavg"])
    assert "participation = 0.1" in capsys.readouterr().out


def test_every_method_has_the_keys_that_it_reads():
    for method in assembly.names():
        config = settings.default(method)
        settings.check(config)
        json.dumps(config.to_dict())
    assert "threshold" not in settings.default("fedavg").policy


def edited(path, change):
    """Rewrites a sealed file as an earlier version had it."""
    found, _ = checksums.opened(path.read_bytes())
    change(found)
    path.write_text(json.dumps(checksums.sealed(found)))


def test_a_run_of_an_earlier_version_goes_on_where_new_keys_are_at_their_default(
    tmp_path,
):
    config = tiny(rounds=1)
    rows, _ = experiment.run(config, tmp_path)
    now = json.loads(json.dumps(config.to_dict()))
    edited(tmp_path / "federated.json", lambda found: found["policy"].pop("scope"))
    del now["policy"]["scope"]
    former = checksums.digest(ownership._settled(now))
    ownership.keep(tmp_path, rows, former)  # as it was marked, by all its keys
    more, _ = experiment.run(tiny(rounds=2), tmp_path)
    assert more[:1] == rows and len(more) == 2
    assert len(results.scan(tmp_path / "rounds.jsonl", former).records) == 0
    edited(tmp_path / "federated.json", lambda found: found["policy"].pop("scope"))
    with pytest.raises(ValueError, match=r"policy.scope = 'global' \(was 'layer'\)"):
        experiment.run(tiny(**{"policy.scope": "global"}), tmp_path)
    edited(tmp_path / "federated.json", lambda found: found.pop("drop"))
    assert experiment.run(tiny(rounds=2), tmp_path)[0] == more


def test_a_mark_is_of_what_differs_from_the_defaults_of_a_method(monkeypatch):
    def mark(config):
        return ownership._mark(json.loads(json.dumps(config.to_dict())))

    marks = [mark(settings.default(name)) for name in assembly.names()]
    marks += [mark(settings.default("cell", "dirichlet")), mark(tiny())]
    assert len(set(marks)) == len(marks)
    assert mark(tiny(rounds=7)) == marks[-1] != mark(tiny(seed=1))
    default = settings.default

    def later(*given):
        found = default(*given)
        with found.unlocked():
            found.local.new = 3
        return found

    monkeypatch.setattr(settings, "default", later)
    found = later("cell", "dirichlet")
    assert mark(found) == marks[-2]
    found.local.new = 4
    assert mark(found) != marks[-2]


def test_of_data_what_is_known_is_compared(tmp_path):
    config = tiny(rounds=1)
    experiment.run(config, tmp_path)
    path = tmp_path / "data.json"
    whole = checksums.opened(path.read_bytes())[0]
    edited(path, lambda found: found["train"].pop("images"))
    edited(path, lambda found: found["all"].pop("mean"))
    experiment.run(config, tmp_path)
    assert checksums.opened(path.read_bytes())[0] == whole
    edited(path, lambda found: found["test"].update(size=3))
    with pytest.raises(ValueError, match=r"data.json says, test size \(3, now \d+\);"):
        experiment.run(config, tmp_path)


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    config = tiny(rounds=1)
    source = assembly.load(config)
    experiment.run(config, tmp_path, source)
    flipped = source.train._replace(labels=9 - source.train.labels)
    with pytest.raises(ValueError, match="with other data than data.json says"):
        experiment.run(tiny(rounds=2), tmp_path, source._replace(train=flipped))
    with pytest.raises(ValueError, match=r"data.json says, all std;"):
        experiment.run(tiny(rounds=2), tmp_path, source._replace(std=(0.9,)))
    rows, _ = experiment.run(tiny(rounds=2), tmp_path, source)
    assert len(rows) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff"])
def test_damaged_notes_of_the_data_are_said_to_be(tmp_path, damage, caplog):
    config = tiny(rounds=1)
    source = assembly.load(config)
    experiment.run(config, tmp_path, source)
    whole = (tmp_path / "data.json").read_bytes()
    (tmp_path / "data.json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"data.json is no .* put it back as it was"):
        experiment.run(tiny(rounds=2), tmp_path, source)
    (tmp_path / "rounds.jsonl").unlink()
    shutil.rmtree(tmp_path / "state")
    experiment.run(config, tmp_path, source)
    assert "it is written again" in caplog.text
    assert (tmp_path / "data.json").read_bytes() == whole
