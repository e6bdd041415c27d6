"""The job `training_set` with small parts, which tells at its end what memory it took."""

import resource
import sys

from jobs import training_set
from jobs.training import files, proven_rows

if __name__ == "__main__":
    proven_rows.PART_ROWS = files.ROW_GROUP_ROWS = 2_000
    code = training_set.main()
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB", file=sys.stderr)
    sys.exit(code)
