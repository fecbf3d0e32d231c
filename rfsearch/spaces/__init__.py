"""What may be chosen, and what was: operators, spaces and architectures as plain frozen data.

No torch here: listing, counting, sampling, mutating and reading TOML need none. Operators and
backbones are known by name alone; the names meet modules in `rfsearch.backbones`.
"""

from rfsearch.spaces.architecture import Architecture, Backbone, Choice, Input, Value
from rfsearch.spaces.operator import Operator
from rfsearch.spaces.space import FORMS, Space
from rfsearch.spaces.tables import load_space, names

__all__ = [
    "FORMS",
    "Architecture",
    "Backbone",
    "Choice",
    "Input",
    "Operator",
    "Space",
    "Value",
    "load_space",
    "names",
]
