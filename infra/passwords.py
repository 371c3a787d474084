"""Make the secrets of ``compose.yaml``, each once: ``python infra/passwords.py [--webhook URL]``.

They go to ``infra/secrets``, which only its owner may enter and git ignores. What is there stays; to change one, change
it where it is known (``ALTER ROLE`` for a database) and in its files.
"""

import argparse
import os
import secrets
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"
WEBHOOK = "alert-webhook"
NOBODY = "http://127.0.0.1:9/"  # where nothing listens: alerts are shown, and told to nobody


def texts(webhook: str) -> dict[str, str]:
    """Return the files by name, with passwords that nobody has had."""
    root, prefect, events, login = (secrets.token_urlsafe(32) for _ in range(4))
    access, secret = secrets.token_hex(10), secrets.token_urlsafe(32)
    lines = {
        "postgres.env": [
            "POSTGRES_USER=postgres",
            f"POSTGRES_PASSWORD={root}",
            f"PREFECT_DATABASE_PASSWORD={prefect}",
            f"EVENTS_DATABASE_PASSWORD={events}",
        ],
        "prefect-server.env": [
            f"PREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql+asyncpg://prefect:{prefect}@postgres:5432/prefect",
            f"PREFECT_SERVER_API_AUTH_STRING=recsys:{login}",
            f"PREFECT_API_AUTH_STRING=recsys:{login}",  # what it starts asks it, too
        ],
        "prefect-client.env": [f"PREFECT_API_AUTH_STRING=recsys:{login}"],
        "events.env": [f"RECSYS_DATABASE_URL=postgresql+psycopg://recsys:{events}@postgres:5432/events"],
        "store.env": [f"AWS_ACCESS_KEY_ID={access}", f"AWS_SECRET_ACCESS_KEY={secret}"],
        "grafana.env": [f"GF_SECURITY_ADMIN_PASSWORD={secrets.token_urlsafe(16)}"],
        WEBHOOK: [webhook],
    }
    return {name: "\n".join([*some, ""]) for name, some in lines.items()}


def make(folder: Path, webhook: str = NOBODY) -> list[str]:
    """Write the files if there are none; return the names of those that were made.

    Raises:
        FileExistsError: some are there and some are not; passwords stand in several files, which must agree.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = texts(webhook)
    there = [name for name in made if (folder / name).exists()]
    if len(there) == len(made):
        return []
    if there:
        missing = ", ".join(sorted(set(made) - set(there)))
        raise FileExistsError(
            f"{folder} lacks {missing}. Passwords stand in several files: bring these back, or move all away."
        )
    for name, text in made.items():
        # Alertmanager reads its file as another user; the folder keeps everybody else out.
        with open(
            os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644 if name == WEBHOOK else 0o600), "w"
        ) as file:
            file.write(text)
    return list(made)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--webhook", default=NOBODY, metavar="URL", help="whom alerts are posted to, as Alertmanager's JSON"
    )
    done = make(FOLDER, parser.parse_args().webhook)
    print(f"{FOLDER}: {', '.join(done) or 'all of them were there'}")
