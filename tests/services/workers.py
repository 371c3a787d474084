"""The processes behind a service."""

import psutil

from recsys.home import Home


def workers_of(home: Home) -> set[int]:
    """Return the processes that keep numbers of their own and live."""
    files = home.runs.glob("service-*/bentoml/prometheus_multiproc_dir/counter_*.db")
    return {pid for file in files if psutil.pid_exists(pid := int(file.stem.split("_")[1]))}


def memory_of(home: Home) -> int:
    """Return the bytes that they hold in memory."""
    return sum(psutil.Process(pid).memory_info().rss for pid in workers_of(home))


def listening(home: Home) -> dict[tuple[str, int], int]:
    """Return the addresses and ports on which they, and what they belong to, listen, and who does."""
    found: dict[tuple[str, int], int] = {}
    for pid in workers_of(home):
        family = [psutil.Process(pid), *psutil.Process(pid).parents()]
        server = [process for process in family if "bentoml" in " ".join(process.cmdline())]
        for process in (*server, *server[-1].children(recursive=True)):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[(connection.laddr.ip, connection.laddr.port)] = process.pid
    return found
