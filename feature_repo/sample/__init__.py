"""The sample data: IBM's Telco customers, and monthly exports of a video subscription company made from them."""

from feature_repo.sample.exports import FORMATS, Export, ExportFolder, exports, write_export
from feature_repo.sample.generator import generate

__all__ = ["FORMATS", "Export", "ExportFolder", "exports", "generate", "write_export"]
