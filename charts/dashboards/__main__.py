"""`python -m charts.dashboards` writes the files of all dashboards."""

from charts.dashboards import write

write()
