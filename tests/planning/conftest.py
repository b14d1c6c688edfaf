"""The runs of a spec are planned from the small shelf that specs are read against."""

from spec.conftest import bench as bench
from spec.conftest import shelves as shelves
