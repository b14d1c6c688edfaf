from pathlib import Path

import pytest

from clipbench.errors import SpecError
from clipbench.spec.claims import ArmPattern, ClipPattern, load

GOOD = """\
claims:
  - name: C1
    statement: It is so.
    compare: {quantity: x, of: sgd, against: [adam, {use: lion, clip: {fraction: 0.1}}]}
    expect: higher
  - name: C2
    statement: They agree.
    rank: {by: x, of: {clip: false}}
    expect: higher
    needs: {arms: 4, tasks: 2}
  - name: C3
    statement: Nobody knows.
    unmeasured: it takes more
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(written(folder, text))
    return [f"{one.line}:{one.column}: {one.message}" for one in caught.value.faults]


def test_claims_are_read_with_their_defaults(tmp_path: Path) -> None:
    one, two, three = load(written(tmp_path, GOOD))
    assert one.compare is not None
    assert one.compare.against == ("adam", ArmPattern(use="lion", clip=ClipPattern(fraction=0.1)))
    assert (one.compare.how, one.beyond, one.compare.at) == ("ratio", 1.0, "shared")
    assert two.rank is not None
    assert (two.beyond, two.needs.arms, two.rank.to) == (0.0, 4, "final_loss")
    assert (three.unmeasured, three.expect) == ("it takes more", None)


def test_a_quantity_alone_is_a_value_and_beside_another_a_ratio(tmp_path: Path) -> None:
    alone = GOOD.replace(", against: [adam, {use: lion, clip: {fraction: 0.1}}]", "")
    [one, *_] = load(written(tmp_path, alone))
    assert one.compare is not None
    assert (one.compare.how, one.beyond) == ("value", 0.0)
    beside = GOOD.replace("against: [adam, {use: lion, clip: {fraction: 0.1}}]", "against_quantity: y")
    [one, *_] = load(written(tmp_path, beside))
    assert one.compare is not None
    assert (one.compare.how, one.beyond) == ("ratio", 1.0)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("name: C2", "name: C1", "6:11: claims.1.name: a claim 'C1' is here already; give this one another name"),
        ("    expect: higher\n  - name: C2", "  - name: C2", "2:5: claims.0: a claim that is measured says what to"),
        ("expect: higher\n    needs", "expect: more\n    needs", "9:13: claims.1.expect: expected 'lower' or 'higher'"),
        ("quantity: x, of", "quantiy: x, of", "4:5: claims.0.compare: the key 'quantity' is missing"),
        ("of: sgd", "of: []", "4:32: claims.0.compare.of: at least one is needed, found the list []"),
        ("of: sgd", "of: 3", "4:32: claims.0.compare.of: expected text, found 3"),
        ("use: lion", "uses: lion", "4:54: claims.0.compare.against.1.uses: there is no such key; did you mean 'use'?"),
        (
            "{fraction: 0.1}",
            "{frction: 0.1}",
            "4:72: claims.0.compare.against.1.clip.frction: there is no such key; did you mean 'fraction'?",
        ),
        ("arms: 4", "arms: 2", "10:19: claims.1.needs.arms: must be at least 3, found 2"),
        ("tasks: 2", "taks: 2", "10:22: claims.1.needs.taks: there is no such key; did you mean 'tasks'?"),
        ("of: sgd,", "of: sgd, at: there,", "4:41: claims.0.compare.at: expected 'shared' or 'own'"),
        ("of: sgd,", "of: sgd, scale: value,", "4:14: claims.0.compare: a value stands alone"),
        ("of: sgd,", "of: sgd, at: own, each_step: true,", "4:14: claims.0.compare: `each_step` is for shared points"),
        (
            "against: [adam, {use: lion, clip: {fraction: 0.1}}]",
            "scale: ratio",
            "4:14: claims.0.compare: a ratio needs `against` or `against_quantity`",
        ),
        ("    unmeasured: it takes more\n", "", "11:5: claims.2: a claim has exactly one of compare, rank, unmeasured"),
        ("unmeasured: it", "expect: lower\n    unmeasured: it", "11:5: claims.2: a claim that is measured says"),
        ("expect: higher\n  - name", "expect: higher\n    margin: 0\n  - name", "2:5: claims.0: the margin of a ratio"),
        ("statement: It is so.", "statment: It is so.", "3:5: claims.0.statment: there is no such key; did you mean"),
        ("claims:", "claim:", "1:1: claim: there is no such key; did you mean 'claims'?"),
    ],
)
def test_a_fault_is_told_at_its_place(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert GOOD.count(old) == 1
    assert any(each.startswith(fault) for each in faults(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "0:0: the file is empty: a file of claims is a mapping with the key claims, and a list under it"),
        ("- C1\n", "1:1: a file of claims is a mapping with the key claims, and a list under it, not a list"),
        ("claims: []\n", "1:9: claims: at least one is needed, found the list []"),
        ("claims: C1\n", "1:9: claims: expected a list, found the text 'C1'"),
        ("claims: [C1]\n", "1:10: claims.0: expected a mapping, found the text 'C1'"),
        ("claims: [\n", "2:1: not valid YAML"),
        ("claims: []\nclaims: []\n", "2:1: the key 'claims' is here a second time"),
    ],
)
def test_what_is_no_file_of_claims_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    assert any(each.startswith(fault) for each in faults(tmp_path, text))
