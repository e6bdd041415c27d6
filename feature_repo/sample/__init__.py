"""The sample data: IBM's Telco customers, and monthly exports of a video subscription company made from them."""

from feature_repo.sample.export import FORMATS, Export, ExportFolder, exports, write_export
from feature_repo.sample.generator import generate

EXAMPLE_CUSTOMER = "7590-VHVEG"
"""A customer of the first month, and of a year after it."""
UNKNOWN_CUSTOMER = "0000-NOBODY"
"""An id that no customer has."""

__all__ = [
    "EXAMPLE_CUSTOMER",
    "FORMATS",
    "UNKNOWN_CUSTOMER",
    "Export",
    "ExportFolder",
    "exports",
    "generate",
    "write_export",
]
