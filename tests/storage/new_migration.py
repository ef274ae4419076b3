"""Write a migration of what tables.py has and the newest one lacks.

    .venv/bin/python tests/storage/new_migration.py "Keep what is graded"

Then read what it wrote, and raise HEAD in schema.py.
"""

import re
import sys
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from assay.storage.schema import HEAD, MIGRATIONS, configuration


def write(message: str, folder: Path) -> Path:
    """Compare with a database of now; the new file, in `folder`."""
    number = f"{int(HEAD) + 1:04}"
    name = "_".join(re.findall(r"[a-z]+", message.lower())[:4])
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        wanted = configuration(connection)
        wanted.set_main_option("file_template", f"v%%(rev)s_{name}")
        wanted.set_main_option("version_locations", f"{MIGRATIONS / 'versions'}:{folder}")
        wanted.set_main_option("path_separator", ":")
        command.upgrade(wanted, "head")
        command.revision(
            wanted, message, autogenerate=True, rev_id=number, version_path=str(folder)
        )
    engine.dispose()
    return folder / f"v{number}_{name}.py"


if __name__ == "__main__":
    print(write(sys.argv[1], MIGRATIONS / "versions"))
