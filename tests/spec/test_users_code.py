"""Which edits of the user's files change the code that a thing is known by; all cases are asked in two processes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipbench.spec.externals import describe, external_entry

pytestmark = pytest.mark.slow  # a user's modules are loaded in processes of their own

THING = "class Mine:\n    def __init__(self, params, lr=1.0):\n        pass\n"
SITE = "site-packages"


@dataclass(frozen=True)
class Case:
    """Files, by path, what a spec uses of them, and an edit: the path and its new content."""

    name: str
    files: Mapping[str, str]
    use: str
    edit: tuple[str, str]
    changes: bool = True


def installed(name: str, code: str, *, version: str = "1.0", origin: object = None, by: str = "pip") -> dict[str, str]:
    """The files of an installed package of one module."""
    about = f"{SITE}/{name}-{version}.dist-info"
    files = {
        f"{SITE}/{name}.py": code,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/INSTALLER": by,
        f"{about}/RECORD": f"{name}.py,sha256=x,1\n{about.partition('/')[2]}/METADATA,,\n",
    }
    return files if origin is None else files | {f"{about}/direct_url.json": json.dumps(origin)}


def editable(name: str, code: str) -> dict[str, str]:
    """A package that is installed as a link to its folder: beside the link lie the traces of its building."""
    files = installed(name, code, origin={"url": "file:///home/me/x", "dir_info": {"editable": True}})
    del files[f"{SITE}/{name}.py"]
    linked = {path: text.replace(f"{name}.py,", f"__editable__.{name}.pth,") for path, text in files.items()}
    trace = {f"{name}.egg-info/PKG-INFO": files[f"{SITE}/{name}-1.0.dist-info/METADATA"]}
    return linked | trace | {f"{name}.egg-info/top_level.txt": name, f"{name}.py": code}


BY_PATH = """
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
spec = spec_from_file_location("any name", Path(__file__).with_name("z_rules.txt.py"))
rules = module_from_spec(spec)
spec.loader.exec_module(rules)
"""

CASES = [
    Case(
        "the package of a module that a function imports",
        {"cc_mine.py": f"def f():\n    import cc_pkg.sub.part\n{THING}", "cc_pkg/__init__.py": ""}
        | {"cc_pkg/sub/__init__.py": "X = 1\n", "cc_pkg/sub/part.py": ""},
        "cc_mine:Mine",
        ("cc_pkg/sub/__init__.py", "X = 2\n"),
    ),
    Case(
        "a file that is run by its path and is no module",
        {"z_mine.py": BY_PATH + THING, "z_rules.txt.py": "import z_more\n", "z_more.py": "X = 1\n"},
        "z_mine:Mine",
        ("z_rules.txt.py", "import z_more\nX = 2\n"),
    ),
    Case(
        "what a file that is run by its path names in a function",
        {"aa_mine.py": BY_PATH.replace("z_", "aa_") + THING, "aa_rules.txt.py": "def f():\n    import aa_more\n"}
        | {"aa_more.py": "X = 1\n"},
        "aa_mine:Mine",
        ("aa_more.py", "X = 2\n"),
    ),
    Case(
        "a text that is run under the name of its file",
        {"bb_mine.py": f"exec(compile(open('bb_rules.py').read(), 'bb_rules.py', 'exec'))\n{THING}"}
        | {"bb_rules.py": "X = 1\n"},
        "bb_mine:Mine",
        ("bb_rules.py", "X = 2\n"),
    ),
    Case(
        "a helper",
        {"a_mine.py": f"import a_help\n{THING}", "a_help.py": "SCALE = 1\n"},
        "a_mine:Mine",
        ("a_help.py", "SCALE = 2\n"),
    ),
    Case(
        "a helper of a helper",
        {"b_mine.py": f"import b_one\n{THING}", "b_one.py": "import b_two\n", "b_two.py": "X = 1\n"},
        "b_mine:Mine",
        ("b_two.py", "X = 2\n"),
    ),
    Case(
        "a base class in another file",
        {"c_mine.py": "from c_base import Base\nclass Mine(Base): ...\n", "c_base.py": THING.replace("Mine", "Base")},
        "c_mine:Mine",
        ("c_base.py", THING.replace("Mine", "Base") + "    rate = 2\n"),
    ),
    Case(
        "an import inside a function that is not called",
        {"d_mine.py": THING + "    def step(self):\n        import d_late\n", "d_late.py": "X = 1\n"},
        "d_mine:Mine",
        ("d_late.py", "X = 2\n"),
    ),
    Case(
        "a relative import",
        {"e_pkg/__init__.py": "", "e_pkg/in/__init__.py": "", "e_pkg/mine.py": f"from .help import X\n{THING}"}
        | {"e_pkg/help.py": "X = 1\n"},
        "e_pkg.mine:Mine",
        ("e_pkg/help.py", "X = 2\n"),
    ),
    Case(
        "a relative import from above, inside a function",
        {"f_pkg/__init__.py": "", "f_pkg/sub/__init__.py": "", "f_pkg/help.py": "X = 1\n"}
        | {"f_pkg/sub/mine.py": f"def f():\n    from .. import help\n{THING}"},
        "f_pkg.sub.mine:Mine",
        ("f_pkg/help.py", "X = 2\n"),
    ),
    Case(
        "the package's __init__",
        {"g_pkg/__init__.py": "X = 1\n", "g_pkg/mine.py": THING},
        "g_pkg.mine:Mine",
        ("g_pkg/__init__.py", "X = 2\n"),
    ),
    Case(
        "a module imported from its package",
        {
            "h_mine.py": f"def f():\n    from h_pkg import part\n{THING}",
            "h_pkg/__init__.py": "",
            "h_pkg/part.py": "X = 1\n",
        },
        "h_mine:Mine",
        ("h_pkg/part.py", "X = 2\n"),
    ),
    Case(
        "all names of a module",
        {"i_mine.py": "from i_names import *\n", "i_names.py": THING},
        "i_mine:Mine",
        ("i_names.py", THING + "X = 2\n"),
    ),
    Case(
        "a module imported by its name as text, later",
        {
            "j_mine.py": f"import importlib\ndef f():\n    importlib.import_module('j_late')\n{THING}",
            "j_late.py": "X = 1\n",
        },
        "j_mine:Mine",
        ("j_late.py", "X = 2\n"),
    ),
    Case(
        "a module whose name is put together",
        {
            "k_mine.py": f"from importlib import import_module\nimport_module('k_' + 'plug')\n{THING}",
            "k_plug.py": "X = 1\n",
        },
        "k_mine:Mine",
        ("k_plug.py", "X = 2\n"),
    ),
    Case(
        "what a package loads when it is asked for the thing",
        {
            "l_pkg/__init__.py": "def __getattr__(name):\n    from importlib import import_module\n    return getattr("
            "import_module('.' + 'deep', __name__), name)\n",
            "l_pkg/deep.py": THING,
        },
        "l_pkg:Mine",
        ("l_pkg/deep.py", THING + "X = 2\n"),
    ),
    Case(
        "a package without __init__",
        {"m_mine.py": f"def f():\n    from m_space.deep import part\n{THING}", "m_space/deep/part.py": "X = 1\n"},
        "m_mine:Mine",
        ("m_space/deep/part.py", "X = 2\n"),
    ),
    Case(
        "a module that was missing",
        {"n_mine.py": f"try:\n    import n_fast\nexcept ImportError:\n    pass\n{THING}"},
        "n_mine:Mine",
        ("n_fast.py", "X = 1\n"),
    ),
    Case(
        "a file that nothing names",
        {"o_mine.py": THING, "o_beside.py": "X = 1\n"},
        "o_mine:Mine",
        ("o_beside.py", "X = 2\n"),
        changes=False,
    ),
    Case(
        "a comment, a docstring and the layout of a helper",
        {"p_mine.py": f"import p_help\n{THING}", "p_help.py": "def f(a, b):\n    return a + b\n"},
        "p_mine:Mine",
        ("p_help.py", "# sum\ndef f(a,b):\n    '''Sum.'''\n    return (a + b)\n"),
        changes=False,
    ),
    Case(
        "a package from an index, which goes by its version",
        installed("q_index", THING),
        "q_index:Mine",
        (f"{SITE}/q_index.py", THING + "X = 2\n"),
        changes=False,
    ),
    Case(
        "the version of a package that the user's file imports",
        {"r_mine.py": f"import r_index\n{THING}"} | installed("r_index", "X = 1\n"),
        "r_mine:Mine",
        (f"{SITE}/r_index-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: r_index\nVersion: 1.1\n"),
    ),
    Case(
        "a package from a folder",
        installed("s_folder", THING, origin={"url": "file:///home/me/x", "dir_info": {}}),
        "s_folder:Mine",
        (f"{SITE}/s_folder.py", THING + "X = 2\n"),
    ),
    Case(
        "an editable package that the user's file imports",
        {"t_mine.py": f"import t_edit\n{THING}"} | editable("t_edit", "X = 1\n"),
        "t_mine:Mine",
        ("t_edit.py", "X = 2\n"),
    ),
    Case(
        "a file among the packages that none of them has",
        {"u_mine.py": f"import u_stray\n{THING}", f"{SITE}/u_stray.py": "X = 1\n"},
        "u_mine:Mine",
        (f"{SITE}/u_stray.py", "X = 2\n"),
    ),
    Case(
        "a package from an archive whose version stayed",
        installed("v_wheel", THING, origin={"url": "https://x/v.whl", "archive_info": {}}),
        "v_wheel:Mine",
        (f"{SITE}/v_wheel-1.0.dist-info/RECORD", "v_wheel.py,sha256=y,1\n"),
    ),
    Case(
        "a package of conda, which builds from folders",
        installed("w_conda", THING, origin={"url": "file:///feedstock", "dir_info": {}}, by="conda\n"),
        "w_conda:Mine",
        (f"{SITE}/w_conda.py", THING + "X = 2\n"),
        changes=False,
    ),
    Case(
        "an import for the type checker alone",
        {"x_mine.py": f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x_types\n{THING}"}
        | {"x_types.py": "X = 1\n"},
        "x_mine:Mine",
        ("x_types.py", "X = 2\n"),
    ),
    Case(
        "a metaclass that makes its class elsewhere",
        {
            "y_mine.py": "from y_make import make\nMine = make()\n",
            "y_make.py": "import y_base\ndef make():\n    return type('Mine', (y_base.Mine,), {})\n",
            "y_base.py": THING,
        },
        "y_mine:Mine",
        ("y_base.py", THING + "X = 2\n"),
    ),
]


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def sources(folder: Path) -> dict[str, str]:
    """The source of each case's thing, as it is planned in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder / SITE)
        patch.setenv("PYTHONPATH", str(folder / SITE), prepend=":")
        described = describe(case.use for case in CASES)
    entries = {case.name: external_entry("optimizers", case.use, described[case.use]) for case in CASES}
    assert {name: entry.broken for name, entry in entries.items() if entry.broken} == {}
    return {name: entry.source for name, entry in entries.items()}


@pytest.fixture(scope="module")
def before_and_after(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """The sources before and after all edits; the latter in a copy, so that no bytecode of the former is in the way."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for case in CASES:
        write(one, case.files)
        write(two, {**case.files, case.edit[0]: case.edit[1]})
    return sources(one), sources(two)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_edit_changes_the_source_where_it_may_change_what_runs(
    case: Case, before_and_after: tuple[dict[str, str], dict[str, str]]
) -> None:
    before, after = before_and_after
    assert (before[case.name] != after[case.name]) is case.changes


LAZY = {
    "lazy_pkg/__init__.py": "from importlib import import_module\ndef __getattr__(name):\n"
    "    return getattr(import_module(f'.{name.lower()}', __name__), name)\n",
    "lazy_pkg/base.py": THING.replace("Mine", "Base"),
    "lazy_pkg/one.py": "import lazy_pkg\nOne = type('One', (lazy_pkg.Base,), {'__module__': __name__})\n",
    "lazy_pkg/two.py": "import lazy_pkg\nTwo = type('Two', (lazy_pkg.Base,), {'__module__': __name__})\n",
}


def test_a_thing_is_made_of_the_same_files_whatever_else_the_spec_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, LAZY)
    monkeypatch.chdir(tmp_path)
    one, two = "lazy_pkg:One", "lazy_pkg:Two"
    together = describe([one, two])
    assert together[two]["files"].keys() == {"lazy_pkg", "lazy_pkg.two", "lazy_pkg.base"}
    assert together == describe([one]) | describe([two])
