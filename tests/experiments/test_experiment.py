"""Experiments: from what was measured to a claim, recorded, resumed and shown."""

import json

import pytest

from minilib.claims import HOLDS, MIME, PICTURE, SEED, SHOWN
from minilib.experiments import evidence, measure
from minilib.experiments.experiment import Bound, Compare, Experiment, Size
from minilib.experiments.registry import chosen, experiments
from minilib.weights import CorruptFileError

DIFFERENCE = "a − b"
calls = []


def measured(seed, size):
    calls.append((seed, size))
    return {DIFFERENCE: (2.0 + seed / 100, 0.5), "left = right": 1e-15}


def per_picture(seed, size):
    return {DIFFERENCE: ([1.0, 2.0 + seed, 1.5], [0.0, 0.0, 0.5])}


PARTS = (Compare(DIFFERENCE, 1.0), Bound("left = right", 1e-12))
TWO = Experiment("X-1", "a beats b", measured, PARTS, seeds=3)
PICTURES = Experiment("X-2", "a beats b", per_picture, PARTS[:1], PICTURE, seeds=2)


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "HERE", tmp_path / "evidence")
    monkeypatch.setattr(measure, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(measure, "code_of", lambda experiment: "c0de")
    calls.clear()


def test_a_size_picks():
    assert [size.pick(live=1, quick=2, full=3) for size in Size] == [1, 2, 3]


def test_an_experiment_is_a_function_of_seeds_and_size():
    claim = TWO([0, 1, 2], Size.LIVE)
    assert claim.outcome == HOLDS
    assert calls == [(0, Size.LIVE), (1, Size.LIVE), (2, Size.LIVE)]
    assert claim.parts[0].values == pytest.approx([1.5, 1.51, 1.52])
    assert claim.parts[1].outcome == SHOWN
    assert claim.facts["seeds"] == [0, 1, 2]


def test_where_pictures_are_the_unit_the_seeds_are_groups():
    (part,) = PICTURES([0, 1], Size.LIVE).parts
    assert (len(part.values), part.groups, part.unit) == (6, 2, PICTURE)


def test_a_part_that_is_missing_or_unknown_is_refused():
    def wrong(seed, size):
        return {DIFFERENCE: (1.0, 0.0)}

    with pytest.raises(ValueError, match="expected the parts"):
        Experiment("X-1", "a beats b", wrong, PARTS)([0, 1, 2], Size.LIVE)


def test_a_measurement_is_recorded_with_all_that_repeats_it():
    measure.measure([TWO], None, Size.QUICK)
    record = json.loads(evidence.path("X-1").read_text())
    assert record["command"] == "python -m minilib measure X-1 --size quick"
    assert record["code"] == "c0de"
    assert record["seeds"] == [0, 1, 2]
    assert {"machine", "minutes", "date", "rule", "size"} <= set(record)
    assert evidence.read("X-1").outcome == HOLDS
    assert evidence.ids() == ["X-1"]
    assert not list(measure.KEPT.glob("*"))


def test_too_few_seeds_are_refused_before_they_are_measured():
    identity = Experiment("X-3", "left = right", measured, PARTS[1:], seeds=1)
    with pytest.raises(ValueError, match=r"X-1 compares trainings, .* got 2$"):
        measure.measure([PICTURES, TWO], 2, Size.LIVE)
    assert not calls
    assert not list(evidence.HERE.parent.iterdir())
    measure.require_seeds(identity, 1)
    measure.require_seeds(PICTURES, 1)
    measure.require_seeds(TWO, None)
    measure.require_seeds(TWO, 3)


def test_a_killed_measurement_goes_on_where_it_was():
    def dies(seed, size):
        if seed == 2 and len(calls) == 2:
            raise KeyboardInterrupt
        return measured(seed, size)

    killed = Experiment("X-1", "a beats b", dies, PARTS, seeds=3)
    with pytest.raises(KeyboardInterrupt):
        measure.measure([killed], None, Size.QUICK)
    assert not evidence.path("X-1").exists()
    measure.measure([TWO], None, Size.QUICK)
    assert [seed for seed, _ in calls] == [0, 1, 2]
    assert (
        evidence.read("X-1").record()["parts"]
        == TWO([0, 1, 2], Size.QUICK).record()["parts"]
    )


def test_what_other_code_measured_is_measured_again(monkeypatch):
    claim = measure.measure_one(TWO, [0, 1, 2], Size.QUICK, "c0de")
    assert claim.facts["code"] == "c0de"
    monkeypatch.setattr(measure, "code_of", lambda experiment: "other")
    assert measure.is_stale(TWO)
    measure.KEPT.mkdir(exist_ok=True)
    state = {"code": "c0de", "seconds": 1.0, "seeds": {"0": measured(0, Size.QUICK)}}
    (measure.KEPT / "X-1-quick.json").write_text(json.dumps(state))
    calls.clear()
    measure.measure_one(TWO, [0, 1, 2], Size.QUICK, "other")
    assert [seed for seed, _ in calls] == [0, 1, 2]
    assert not measure.is_stale(TWO)


def test_a_full_disk_leaves_the_old_record_whole(monkeypatch):
    measure.measure([TWO], None, Size.QUICK)
    before = evidence.path("X-1").read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="cannot write"):
        measure.measure([TWO], None, Size.FULL)
    assert evidence.path("X-1").read_bytes() == before
    assert [file.name for file in evidence.HERE.iterdir()] == ["X-1.json"]


def test_a_record_that_is_missing_or_damaged_says_what_to_do():
    with pytest.raises(ValueError, match="run python -m minilib measure X-1"):
        TWO.verdict()
    measure.measure([TWO], None, Size.QUICK)
    text = evidence.path("X-1").read_text()
    for damaged, reason in [
        (text[:100], "truncated"),
        ("[]", "damaged"),
        (text.replace('"unit"', '"united"'), "damaged"),
        (text.replace('"outcome": "holds"', '"outcome": "shown"', 1), "not that of"),
        (text.replace('"id": "X-1"', '"id": "X-9"'), "not that of"),
    ]:
        evidence.path("X-1").write_text(damaged)
        with pytest.raises(CorruptFileError, match=reason):
            TWO.verdict()


def test_a_chapter_shows_its_own_run_beside_the_record():
    measure.measure([TWO], None, Size.QUICK)
    calls.clear()
    beside = TWO.live(seed=1)
    assert calls == [(1, Size.LIVE)]
    assert beside[DIFFERENCE] == pytest.approx(1.51)
    assert beside["left = right"] == 1e-15
    shown = beside._repr_mimebundle_()
    assert shown[MIME] == evidence.read("X-1").summary()
    assert "this run" in shown["text/html"]
    assert "1.51" in repr(beside)
    with pytest.raises(ValueError, match="expected the parts"):
        TWO.beside({DIFFERENCE: (1.0, 0.0)})


def test_every_experiment_of_the_book_can_be_asked_for():
    known = experiments()
    assert {one.id for one in chosen([])} == set(known)
    for id, one in known.items():
        assert chosen([id]) == [one]
        assert one.parts
        compares = any(isinstance(part, Compare) for part in one.parts)
        assert one.seeds >= (1 if not compares else 3 if one.unit == SEED else 2)
    with pytest.raises(ValueError, match="no experiment measures AE-99; there are"):
        chosen(["AE-99"])
