"""Which generations stay and why: the rules, one by one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from outcrop.generations import leases, locks, pointer
from outcrop.generations.collecting import GcReport
from outcrop.generations.layout import GenerationName

if TYPE_CHECKING:
    from tests.generations.conftest import Kb


def numbers(report: GcReport) -> list[int | None]:
    return [item.generation for item in report.removed]


def reason(report: GcReport, name: GenerationName) -> str:
    return next(item.reason for item in report.kept if item.generation == name.number)


def test_the_generations_promoted_last_stay_however_old_and_older_ones_go(kb: Kb) -> None:
    one, two, three, four = kb.promoted(400, 300, 200, 100)
    report = kb.collect(kept_generations=2, kept_days=7)
    assert numbers(report) == [one.number]
    assert kb.there() == [two, three, four]
    assert reason(report, four) == "active"
    assert reason(report, three) == reason(report, two) == "archived, one of the 2 that were promoted last"
    assert "archived, last active 300.0 days ago" in report.removed[0].reason


def test_a_generation_that_was_active_lately_stays_beyond_the_count(kb: Kb) -> None:
    """One was promoted long ago, but served until two days ago."""
    one, two, three = kb.promoted(400, 2, 1)
    assert kb.collect(kept_generations=0, kept_days=7).removed == ()
    report = kb.collect(kept_generations=0, kept_days=1.5)
    assert numbers(report) == [one.number]
    assert reason(report, two) == "archived, last active 1.0 days ago"
    assert kb.there() == [two, three]


def test_what_counts_is_the_last_promotion_not_the_number(kb: Kb) -> None:
    one, two, three = kb.promoted(300, 200, 100)
    kb.promote(one, days=90)
    kb.promote(three, days=80)
    report = kb.collect(kept_generations=1, kept_days=0)
    assert numbers(report) == [two.number]
    assert kb.there() == [one, three]


def test_kept_days_of_zero_keeps_the_count_exactly(kb: Kb) -> None:
    _, two, three = kb.promoted(0.2, 0.1, 0)
    kb.collect(kept_generations=1, kept_days=0)
    assert kb.there() == [two, three]


def test_a_generation_that_waits_to_be_promoted_stays_if_it_is_the_newest_or_young(kb: Kb) -> None:
    (active,) = kb.promoted(50)
    stale, young, newest = kb.ready(days=20), kb.ready(days=3), kb.ready(days=10)
    report = kb.collect(kept_generations=0, kept_days=7)
    assert numbers(report) == [stale.number]
    assert kb.there() == [active, young, newest]
    assert reason(report, newest) == "ready to be promoted, the newest"
    assert reason(report, young) == "never promoted, built 3.0 days ago, and a newer one is ready"


def test_an_intent_whose_process_died_keeps_nothing(kb: Kb) -> None:
    """Whoever is at a promotion has the generation open."""
    one, _ = kb.promoted(400, 300)
    kb.journal.intend(one.number, 2, "rollback", source="x")
    assert numbers(kb.collect(kept_generations=0, kept_days=0)) == [one.number]


def test_a_swap_that_was_cut_short_before_its_end_was_recorded_counts(kb: Kb) -> None:
    one, two = kb.promoted(300, 200)
    kb.journal.intend(one.number, two.number, "rollback", source="x")
    pointer.swap(kb.folder, one)
    report = kb.collect(kept_generations=1, kept_days=0)
    assert report.removed == ()
    assert reason(report, one) == "active"
    assert reason(report, two) == "archived, one of the 1 that were promoted last"


def test_without_a_pointer_that_can_be_read_no_generation_goes(kb: Kb) -> None:
    kb.promoted(300, 200, 100)
    kb.folder.active.unlink()
    kb.folder.active.write_text("nonsense")
    report = kb.collect(kept_generations=0, kept_days=0)
    assert report.removed == ()
    assert {item.reason for item in report.kept if item.kind == "generation"} == {
        "it cannot be told which generation is active; promote one to mend the pointer"
    }


def test_a_generation_that_a_process_has_open_stays_until_it_lets_go(kb: Kb) -> None:
    one, _ = kb.promoted(300, 200)
    lease = leases.take(kb.folder.generation(one))
    assert lease is not None
    for report in (kb.survey(kept_generations=0), kb.collect(kept_generations=0)):
        assert report.removed == ()
        assert reason(report, one).startswith("open in a process; otherwise it would go: archived")
    lease.release()
    assert numbers(kb.collect(kept_generations=0)) == [one.number]


def test_an_interrupted_build_is_kept_to_be_resumed_for_some_days(kb: Kb) -> None:
    young, old = kb.build(checkpoint=b"half", days=6), kb.build(checkpoint=b"half", days=8)
    report = kb.collect(abandoned_build_days=7)
    assert numbers(report) == [old.number]
    assert report.removed[0].kind == "build"
    assert reason(report, young) == "an interrupted build, 6.0 days ago, kept to be resumed"


def test_an_interrupted_build_that_cannot_be_resumed_goes(kb: Kb) -> None:
    sealed = kb.build()
    empty = kb.journal.next_generation()
    kb.folder.generation(empty).mkdir()
    garbled = kb.build(checkpoint=b"half")
    (kb.folder.generation(garbled) / "documents.sqlite").write_bytes(b"garbled")
    assert numbers(kb.collect()) == [sealed.number, empty.number, garbled.number]
    assert kb.there() == []


def test_a_build_that_is_going_on_is_left_alone(kb: Kb) -> None:
    name = kb.build(days=100)
    with locks.held(kb.folder.build_lock, timeout_seconds=0, action="being built"):
        for report in (kb.survey(), kb.collect()):
            assert report.removed == ()
            assert reason(report, name) == "being built"
    assert numbers(kb.collect()) == [name.number]


def test_a_damaged_generation_that_was_set_aside_stays_for_the_operator_for_some_days(kb: Kb) -> None:
    young, old, _ = kb.promoted(300, 200, 100)
    for name, days in ((young, 6.0), (old, 8.0)):
        marker = kb.folder.generation(name) / "quarantined"
        marker.write_text("{}")
        kb.age(marker, days)
    report = kb.collect(kept_generations=5, kept_days=7)
    assert numbers(report) == [old.number]
    assert reason(report, young) == "damaged and set aside 6.0 days ago"


def test_a_generation_whose_manifest_is_missing_or_cannot_be_read_is_not_thrown_away(kb: Kb) -> None:
    missing, garbled, newer, _ = kb.promoted(400, 300, 200, 100)
    (kb.folder.generation(missing) / "manifest.json").unlink()
    (kb.folder.generation(garbled) / "manifest.json").write_text("{")
    (kb.folder.generation(newer) / "manifest.json").write_text('{"sha256": "", "manifest": {"format": 2}}')
    report = kb.collect(kept_generations=0, kept_days=0)
    assert report.removed == ()
    assert reason(report, missing) == "damaged: its manifest is missing"
    assert reason(report, garbled) == "damaged: its manifest cannot be read"
    assert reason(report, newer) == "written by a newer Outcrop"


def test_a_damaged_generation_takes_nobodys_place_among_those_that_are_kept(kb: Kb) -> None:
    sound, damaged, _ = kb.promoted(300, 200, 100)
    (kb.folder.generation(damaged) / "quarantined").write_text("{}")
    assert kb.collect(kept_generations=1, kept_days=0.001).removed == ()
    assert sound in kb.there()


def test_what_crashes_left_goes_when_it_is_surely_nobodys(kb: Kb) -> None:
    (active,) = kb.promoted(100)
    database = kb.folder.path.parent
    old = [
        kb.folder.path / ".active-0123abcd",
        kb.folder.path / ".collection.json-0123abcd",
        kb.folder.generation(active) / ".manifest.json-0123abcd",
        database / ".dropped-0123abcd",
        database / ".papers-0123abcd",
    ]
    for path in old[:3]:
        path.write_text("half")
    (old[3] / "generations").mkdir(parents=True)
    (old[4]).mkdir()
    (old[4] / "journal.sqlite").write_text("half")
    young = kb.folder.path / ".active-4567abcd"
    young.symlink_to("nowhere")
    for path in old:
        kb.age(path, 0.1)
    assert sorted(item.path for item in kb.survey().removed) == sorted(map(str, old))
    report = kb.collect()
    assert sorted(item.path for item in report.removed) == sorted(map(str, old))
    assert {item.kind for item in report.removed} == {"leftover"}
    assert not any(os.path.lexists(path) for path in old)
    assert young.is_symlink()
    assert kb.survey().removed == ()


def test_what_is_not_ours_is_never_touched_and_is_reported(kb: Kb) -> None:
    (active,) = kb.promoted(100)
    database = kb.folder.path.parent
    foreign = [
        kb.folder.generations / "notes",
        kb.folder.generations / ".removed-notes",
        kb.folder.generations / "000009-short",
        kb.folder.path / "README.txt",
        kb.folder.generation(active) / ".manifest.json-notes",
        database / ".papers-0123abcd" / "thesis.txt",
        database / ".cache-0123abcd",
        database / ".git" / "generations",
    ]
    for path in foreign:
        path.mkdir(parents=True)
    for path in database.glob(".*"):
        kb.age(path, 100)
    report = kb.collect(kept_generations=0, kept_days=0)
    assert report.removed == ()
    assert all(path.is_dir() for path in foreign)
    assert {item.path for item in report.kept if item.kind == "unknown"} == {str(path) for path in foreign[:4]}
