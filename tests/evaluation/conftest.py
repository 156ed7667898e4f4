"""For comparisons with libraries on PyTorch."""

import importlib
import sys
from types import ModuleType

import pytest


class Anything(type):
    """A class that has every attribute, each another such class."""

    def __getattr__(cls, name):
        return Anything(name, (), {})


@pytest.fixture(autouse=True)
def torchvision(request, monkeypatch):
    """Stands in where there is no torchvision that works beside torch.

    The libraries that scores are compared with import it, and use nothing of it for what is
    compared. Afterwards it is gone: transformers would take it for the real one.
    """
    if "reference" not in request.keywords or "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):  # not there; of another build than torch
        for name in ("", ".datasets", ".models", ".transforms", ".transforms.functional"):
            module = ModuleType(f"torchvision{name}")
            module.__path__, module.__version__ = [], "0"
            module.__getattr__ = lambda attribute: Anything(attribute, (), {})
            monkeypatch.setitem(sys.modules, module.__name__, module)
            parent, _, child = module.__name__.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)
