"""Closing, opening again, damage, and what lies outside the folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from outcrop.documents import FILE_NAME, DocumentsWriter
from outcrop.engines.protocol import GenerationIndex, IndexSnapshot
from outcrop.errors import Closed, Damaged
from outcrop.testing.conformance.generation import DIMENSION, WORD, Generation, Generations, add, indexed, items, rows_of
from outcrop.testing.conformance.suite import Suite

_INDEX_CALLS: Mapping[str, Callable[[GenerationIndex, Generation], object]] = {
    "snapshot": lambda index, _: index.snapshot(),
    "stats": lambda index, _: index.stats(),
    "apply": lambda index, _: index.apply((), (), 2),
    "absorb": lambda index, generation: index.absorb(generation.publishing),
}
_SNAPSHOT_CALLS: Mapping[str, Callable[[IndexSnapshot], object]] = {
    "lexical": lambda snapshot: snapshot.lexical(WORD, 1, None),
    "nearest": lambda snapshot: snapshot.nearest(np.ones(DIMENSION, np.float32), 1, None),
    "fetch": lambda snapshot: snapshot.fetch([1]),
    "explain": lambda snapshot: snapshot.explain(WORD, [1]),
    "vectors": lambda snapshot: snapshot.vectors([1]),
}


class Keeping(Suite):
    """`open`, `close`, `verify` and `drop`."""

    def test_a_new_opening_shows_everything_and_goes_on_from_there(self, generations: Generations) -> None:
        """The sealed index of an existing generation."""
        generation = generations.built(items(range(10)), sequence=5)
        for number in range(1, 4):
            generation.write(items(range(10 * number, 10 * number + 3)), [f"d{number}"])
            generation.close()
            generation = generations.again(generation)
            snapshot = generation.index.snapshot()
            assert snapshot.sequence == 5 + number
            assert generation.seen() == generation.expected()
        generation.index.absorb(generation.publishing)
        generation.close()
        generation = generations.again(generation)
        assert generation.index.snapshot().sequence == 8
        assert generation.seen() == generation.expected()
        assert len(generation.living) == 16

    def test_what_is_no_sealed_index_is_not_opened(self, generations: Generations) -> None:
        """Raises `Damaged` where there is none."""
        recipe, folder = generations.recipe(), generations.folder
        with closing(DocumentsWriter.create(folder)) as documents:
            documents.seal(0)
            with pytest.raises(Damaged):
                self.engine.open(recipe, folder)
        begun = folder / "begun"
        begun.mkdir()
        with closing(DocumentsWriter.create(begun)) as documents, closing(self.engine.create(recipe, begun)) as index:
            rows = rows_of(items(range(3)), 1, 1)
            add(documents, rows, 0)
            index.apply(indexed(rows), (), 0)
            documents.seal(0)
        with pytest.raises(Damaged):
            self.engine.open(recipe, begun)

    @pytest.mark.parametrize("method", [*_INDEX_CALLS])
    def test_a_closed_index_says_so(self, generations: Generations, method: str) -> None:
        """Idempotent; afterwards everything, snapshots included, raises `Closed`."""
        generation = generations.built(items(range(3)))
        call = _INDEX_CALLS[method]
        generation.write()
        call(generation.index, generation)
        generation.index.close()
        generation.index.close()
        with pytest.raises(Closed):
            call(generation.index, generation)

    @pytest.mark.parametrize("method", [*_SNAPSHOT_CALLS])
    def test_a_snapshot_of_a_closed_index_says_so(self, generations: Generations, method: str) -> None:
        """Idempotent; afterwards everything, snapshots included, raises `Closed`."""
        generation = generations.built(items(range(3)))
        snapshot = generation.index.snapshot()
        assert _SNAPSHOT_CALLS[method](snapshot)
        generation.index.close()
        with pytest.raises(Closed):
            _SNAPSHOT_CALLS[method](snapshot)

    def test_closing_one_opening_leaves_the_others_open(self, generations: Generations) -> None:
        """Release files and memory."""
        generation = generations.built(items(range(3)))
        other = generations.again(generation)
        generation.close()
        assert other.seen() == other.expected()
        other.write(items(range(3, 5)))
        assert other.seen() == other.expected()
        other.close()
        shutil.rmtree(generation.directory)
        assert not generation.directory.exists()

    def test_an_index_that_was_not_sealed_can_be_closed_twice(self, generations: Generations) -> None:
        """Idempotent; afterwards everything, snapshots included, raises `Closed`."""
        with closing(DocumentsWriter.create(generations.folder)):
            index = self.engine.create(generations.recipe(), generations.folder)
            index.close()
            index.close()
            with pytest.raises(Closed):
                index.snapshot()

    def test_an_index_as_it_was_written_is_verified(self, generations: Generations) -> None:
        """Read every immutable file of the index and raise `Damaged` for the first that is not what was written."""
        generation = generations.built(items(range(300)))
        self.engine.verify(generation.recipe, generation.directory)
        generation.write(items(range(300, 320)), ["d0"])
        self.engine.verify(generation.recipe, generation.directory)
        generation.index.absorb(generation.publishing)
        self.engine.verify(generation.recipe, generation.directory)

    def test_verify_finds_a_flipped_bit_in_every_immutable_file(self, generations: Generations) -> None:
        """Read every immutable file of the index and raise `Damaged` for the first that is not what was written."""
        generation = generations.built(items(range(300)))
        missed = []
        for path in _immutable(generation):
            content = path.read_bytes()
            for place in sorted({0, len(content) // 2, len(content) - 1}):
                changed = bytearray(content)
                changed[place] ^= 1
                _replace(path, bytes(changed))
                if not self._finds_damage(generation):
                    missed.append(f"byte {place} of {path.relative_to(generation.directory)}")
            _replace(path, content)
        assert missed == []
        self.engine.verify(generation.recipe, generation.directory)

    def test_verify_finds_a_file_that_is_cut_off_or_missing(self, generations: Generations) -> None:
        """Read every immutable file of the index and raise `Damaged` for the first that is not what was written."""
        generation = generations.built(items(range(300)))
        missed = []
        for path in _immutable(generation):
            content = path.read_bytes()
            _replace(path, content[:-1])
            missed += [] if self._finds_damage(generation) else [f"{path.relative_to(generation.directory)}, cut off"]
            path.unlink()
            missed += [] if self._finds_damage(generation) else [f"{path.relative_to(generation.directory)}, missing"]
            _replace(path, content)
        assert missed == []

    def test_what_was_dropped_is_gone_and_its_neighbour_is_not(self, generations: Generations) -> None:
        """Remove whatever the engine keeps outside `directory`."""
        gone = generations.built(items(range(5)), name="gone")
        stays = generations.built(items(range(7)), name="stays")
        gone.close()
        beside = set(generations.folder.iterdir())
        self.engine.drop(gone.directory)
        assert set(generations.folder.iterdir()) == beside
        shutil.rmtree(gone.directory)
        assert stays.seen() == stays.expected()
        anew = generations.built(items(range(2)), name="gone")
        assert anew.seen() == anew.expected()
        assert len(anew.seen().nearest) == 2

    def _finds_damage(self, generation: Generation) -> bool:
        try:
            self.engine.verify(generation.recipe, generation.directory)
        except Damaged:
            return True
        return False


def _replace(path: Path, content: bytes) -> None:
    """Put another file in the place of one, which an engine may have mapped: to cut that off would end this process."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _immutable(generation: Generation) -> list[Path]:
    """The files of the index that stayed as they were when something was written and absorbed, and that are still of use."""
    before = _contents(generation.directory)
    generation.write(items(range(300, 303)), ["d0"])
    generation.index.absorb(generation.publishing)
    after = _contents(generation.directory)
    generation.close()
    found = [generation.directory / name for name, digest in before.items() if after.get(name) == digest]
    assert found, "the index has no immutable file"
    return found


def _contents(directory: Path) -> dict[str, str]:
    """The digest of every file that is not empty (locks are) and not of documents.sqlite."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith(FILE_NAME)]
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.stat().st_size
    }
