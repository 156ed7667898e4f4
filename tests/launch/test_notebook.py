"""The notebook: nothing but its sources in git; from top to bottom in a kernel of its own."""

import json
import shutil

import nbclient
import nbformat
import pytest

from tests.launching import ROOT

NOTEBOOK = ROOT / "launch" / "quickstart.ipynb"


def test_nothing_that_it_printed_is_kept():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
    nbformat.validate(nbformat.from_dict(notebook))


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path):
    """In a copy of the repository, without its installation: it trains and shows pictures."""
    keep = ("mmgen_jax", "configs", "launch", "setup.py", "pyproject.toml", "README.md")
    for name in keep:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    changed = [0, 0]
    for cell in notebook.cells:  # a copy is not to replace what is installed here
        changed[0] += cell.source.count("subprocess.run(pip, check=True)")
        changed[1] += cell.source.count('size=tiny")')
        cell.source = cell.source.replace("subprocess.run(pip, check=True)", "")
        cell.source = cell.source.replace('size=tiny")', 'size=tiny")\nconfig.train.steps = 60')
    assert changed == [1, 1]
    client = nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if "outputs" in cell for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if "data" in output and "image/png" in output.data]
    assert len(pictures) == 3
    assert (tmp_path / "runs" / "notebook" / "config.json").exists()
