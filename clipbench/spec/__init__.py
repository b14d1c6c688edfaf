"""What to run: strict YAML with line numbers → Spec; and the catalogue of what a spec may name."""

from clipbench.spec.loading import load as load
from clipbench.spec.overrides import Overrides as Overrides
from clipbench.spec.schema import json_schema as json_schema
from clipbench.spec.searching import Searched as Searched
from clipbench.spec.spec import Spec as Spec
from clipbench.spec.spec import question as question

__all__ = ["Overrides", "Searched", "Spec", "json_schema", "load", "question"]
