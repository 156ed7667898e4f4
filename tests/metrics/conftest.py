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
def torchvision(request):
    """Stands in where torchvision is of another build than torch, which only says so at import.

    The libraries that scores are compared with import it, and use nothing of it for what is
    compared.
    """
    if "reference" not in request.keywords or "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError:
        for name in ("", ".datasets", ".models", ".transforms", ".transforms.functional"):
            module = ModuleType(f"torchvision{name}")
            module.__path__, module.__version__ = [], "0"
            module.__getattr__ = lambda attribute: Anything(attribute, (), {})
            sys.modules[module.__name__] = module
            parent, _, child = module.__name__.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)
