"""What to run: strict YAML with line numbers → Spec; and the catalogue of what a spec may name."""

from clipbench.spec.asking import Asked as Asked
from clipbench.spec.asking import Inquiry as Inquiry
from clipbench.spec.asking import ask as ask
from clipbench.spec.loading import Spec as Spec
from clipbench.spec.loading import load as load
from clipbench.spec.loading import question as question
from clipbench.spec.schema import json_schema as json_schema
from clipbench.spec.searching import Searched as Searched

__all__ = ["Asked", "Inquiry", "Searched", "Spec", "ask", "json_schema", "load", "question"]
