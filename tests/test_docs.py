"""The documentation says what the code does."""

import importlib.util
import re
from pathlib import Path

import pytest

import pagbench
from pagbench import benchmarks, listing
from pagbench.models import registry

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+")


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_documents_are_up_to_date():
    """Numbers may differ in the last shown digit, which the machine's rounding decides."""
    documents = generator()
    for path, expected in documents.documents(documents.studies()).items():
        text = path.read_text(encoding="utf-8")
        assert NUMBER.sub("#", text) == NUMBER.sub("#", expected), f"{path.name} is stale: run `make docs`"
        found, wanted = ([float(number) for number in NUMBER.findall(part)] for part in (text, expected))
        assert found == pytest.approx(wanted, abs=0.0011), f"{path.name} is stale: run `make docs`"


@pytest.mark.parametrize(
    "name",
    ["README.md", "CONTRIBUTING.md", "leaderboard/README.md", "docs/cli.md", "docs/measures.md", "docs/study.md"]
    + [listing.page(benchmarks.load(name)) for name in benchmarks.names()],
)
def test_links_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", text):
        assert ((ROOT / name).parent / target).exists(), target


def test_entrants_and_commands_in_the_readme_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"^pagbench (\w+)", readme, re.MULTILINE))
    assert commands == {"run", "leaderboard", "list", "check", "fetch", "gradients", "figures", "sweep", "train", "fit"}
    documented = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert all(f"## pagbench {command}" in documented for command in commands)
    for entrant in re.findall(r"\| (fashion-mnist/[\w.-]+|control/[\w-]+) \|", readme):
        assert entrant in registry.names()


def test_public_names_are_documented_and_importable():
    for name in pagbench.__all__:
        value = getattr(pagbench, name)
        assert name == "__version__" or value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pagbench.nothing  # noqa: B018


def test_make_targets_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE):
        assert f"\n{target}:" in makefile
