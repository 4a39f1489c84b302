"""The parts of the harness: statistics, interleaving, verdicts, tables, pages."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec")

from icehouse.client.bench import targets
from icehouse.client.bench.corpora import json_corpora, pairs, records, unicode_database
from icehouse.client.bench.harness import Now, Rounds, Side, Spread, Timing, compare, statements
from icehouse.client.bench.report import COLUMNS, markdown, rows
from icehouse.client.bench.result import Result
from icehouse.client.bench.run import Choice, report
from icehouse.client.demo.questions import about_document, about_unicode, alike, answers


def timing(name: str, *seconds: float) -> Timing:
    return Timing(name, 1, list(seconds))


class TestHarness:
    def test_spread(self) -> None:
        assert Spread.of([4.0]) == Spread(4.0, 4.0, 4.0, 4.0, 1)
        assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0, 1.0, 5)

    def test_rounds_begin_with_another_side_each_time(self) -> None:
        order: list[str] = []

        def side(name: str) -> Side:
            def clock(_: int, now: Now) -> float:
                order.append(name)
                return 1.0

            return Side(name, clock, once=True)

        plan = Rounds(seconds=0, rounds_min=3, rounds_max=3, warmups=0)
        timings = compare([side("a"), side("b"), side("c")], plan)
        assert order == list("abcbcacab")
        assert [timing.seconds for timing in timings] == [[1.0] * 3] * 3

    def test_warm_ups_are_not_counted(self) -> None:
        told = iter([9.0, 9.0, 1.0, 2.0])
        side = Side("a", lambda _, now: next(told), once=True)
        [timing] = compare([side], Rounds(seconds=0, rounds_min=2, rounds_max=2, warmups=2))
        assert timing.seconds == [1.0, 2.0]

    def test_statements_are_all_run(self) -> None:
        seen: list[int] = []
        side = statements("a", ["f(1)", "f(2)"], f=seen.append)
        side.clock(3, lambda: 0.0)
        assert len(seen) == 3 * side.operations
        assert seen[:4] == [1, 2, 1, 2]

    def test_ratios_are_within_a_round(self) -> None:
        # The machine slowed down tenfold; ours is twice as slow throughout.
        result = Result.timed(
            "c", "d", [timing("icehouse", 2, 20, 200), timing("native", 1, 10, 100)]
        )
        assert result.ratios["native"] == Spread(2, 2, 2, 2, 3)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("ours", "verdict"), [(1.9, "aim"), (2.1, "must"), (4.0, "must"), (4.1, "missed")]
    )
    def test_ratio(self, ours: float, verdict: str) -> None:
        timings = [timing("icehouse", ours), timing("native", 1.0)]
        assert Result.timed("c", "d", timings, targets.LOOKUP).verdict == verdict

    @pytest.mark.parametrize(("ours", "verdict"), [(2e-7, "aim"), (9e-7, "must"), (2e-6, "missed")])
    def test_seconds(self, ours: float, verdict: str) -> None:
        assert Result.timed("c", "d", [timing("icehouse", ours)], targets.GET).verdict == verdict

    def test_must_and_aim_may_be_against_different_sides(self) -> None:
        slow = [timing("icehouse", 0.4), timing("pickle", 1.0), timing("msgspec", 0.1)]
        fast = [timing("icehouse", 0.4), timing("pickle", 1.0), timing("msgspec", 0.5)]
        assert Result.timed("c", "d", slow, targets.FREEZE).verdict == "must"
        assert Result.timed("c", "d", fast, targets.FREEZE).verdict == "aim"

    def test_nothing_to_compare_with(self) -> None:
        assert Result.timed("c", "d", [timing("icehouse", 1.0)], targets.LOOKUP).verdict == ""
        assert Result.timed("c", "d", [timing("pickle", 1.0)], targets.GET).verdict == ""


class TestReport:
    def results(self) -> list[Result]:
        timings = [timing("icehouse", 1.0), timing("pickle", 2.0), timing("msgspec", 0.5)]
        return [
            Result.timed("freeze", "d", timings, targets.FREEZE),
            Result.counted(
                "size", "d", {"icehouse": [1e6], "pickle": [9e5]}, targets.SIZES["pairs"]
            ),
            Result.timed("get", "d", [timing("icehouse", 3e-7)], targets.GET),
        ]

    def test_is_json(self) -> None:
        told = report(self.results(), Choice(quick=True))
        assert json.loads(json.dumps(told)) == told
        assert [result["verdict"] for result in told["results"]] == ["must", "aim", "aim"]

    def test_rows(self) -> None:
        told = report(self.results(), Choice())
        lines = rows(told["results"])
        assert all(len(line) == len(COLUMNS) for line in lines)
        assert lines[0][:5] == ["freeze", "d", "1 s", "pickle 2 s", "0.5"]
        assert lines[1][:4] == ["", "", "", "msgspec 500 ms"]
        assert lines[2][2:4] == ["1 MB", "pickle 900 kB"]
        assert markdown(told).count("\n") == len(lines) + 1


class TestCorpora:
    def test_unicode_database(self) -> None:
        graph = unicode_database(limit=200)
        assert graph["characters"][0x41]["name"] == "LATIN CAPITAL LETTER A"
        assert graph["characters"][0x35]["numeric"] == 5
        assert len(graph["characters"]) == sum(map(len, graph["categories"].values())) == 200

    def test_sizes(self) -> None:
        assert len(pairs(10)) == len(records(10)) == 10

    def test_only_documents_that_are_there(self, tmp_path: Path) -> None:
        (tmp_path / "canada.json").write_text("[1]")
        (tmp_path / "other.json").write_text("[2]")
        [corpus] = json_corpora(tmp_path)
        assert (corpus.name, corpus.load()) == ("canada", [1])


class TestQuestions:
    def test_the_same_seed_asks_the_same(self) -> None:
        graph = unicode_database(limit=300)
        asked = about_unicode(graph, 200, seed=3)
        assert asked == about_unicode(graph, 200, seed=3)
        assert asked != about_unicode(graph, 200, seed=4)
        assert asked[0][0] == "name"
        assert {kind for kind, _ in asked} == {"name", "category", "numeric"}
        assert len(answers(graph, asked)) == 200

    @pytest.mark.parametrize("document", [None, 3, "x", [], {}, [[1], {"a": []}], {"": {"": 0}}])
    def test_any_document_can_be_asked_about(self, document: Any) -> None:
        assert len(answers(document, about_document(document, 20, seed=1))) == 20

    def test_alike(self) -> None:
        assert alike(float("nan"), float("nan"))
        assert alike([1], [1])
        assert not alike(1, 2)
