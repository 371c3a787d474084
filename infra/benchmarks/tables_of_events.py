"""Tables of what events mean: roles, people alike, repeats, new items, drift; ``tables.py`` puts them into the page."""

import json
from pathlib import Path
from typing import Any


def audience(path: Path) -> str:
    """Return the Markdown of what people alike bring to who is new, by how many of their events are known."""
    document = json.loads(path.read_text())
    lines = [
        f"{document['data']}; {document['seeds']} seeds, {document['trained']} of them trained; "
        f"{document['processor']}.",
        "",
        "| events known | users | system | N@10 | R@10 | N@10 over the one above, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for known, part in document["known"].items():
        for name, figures in part["systems"].items():
            gain = next((one for pair, one in part["gains"].items() if pair.startswith(f"{name} over ")), None)
            over = "" if gain is None else "{mean:+.4f} ({low:+.4f} … {high:+.4f})".format(**gain)
            cells = [f"{figures[metric]['mean']:.4f}" for metric in ("ndcg@10", "recall@10")]
            shown = f"{name}, weight {part['weight']:g}" if name == "blend with segments" else name
            lines.append(f"| {known} | {figures['users']} | {shown} | {' | '.join(cells)} | {over} |")
    shop = document["shop"]
    lines += [
        "",
        f"Made-up shops, {shop['seeds']} seeds; {shop['users']:,} held-out users:",
        "",
        "| known of who asks | N@10 | R@10 | N@10 over popularity, 95 % |",
        "|---|---|---|---|",
    ]
    for name, figures in shop["systems"].items():
        over = "{mean:+.4f} ({low:+.4f} … {high:+.4f})".format(**shop["gains"][name]) if name in shop["gains"] else ""
        cells = [f"{figures[metric]['mean']:.4f}" for metric in ("ndcg@10", "recall@10")]
        lines.append(f"| {name} | {' | '.join(cells)} | {over} |")
    return "\n".join([*lines, ""])


def repeats(path: Path) -> str:
    """Return the Markdown of what seen items are worth as candidates: means over the seeds, and each seed's."""
    document = json.loads(path.read_text())
    counts = [shop["targets"] for shop in document["shops"]]
    said = {
        "before": "before: seen items left out",
        "kept": "seen items kept",
        "now": "now: and what is due",
        "again": "what is due, alone",
        "popularity": "popularity",
    }
    lines = [
        f"Shops of {document['users']:,} users, {document['items']:,} items and about {document['events']:,} events, "
        f"as many as seeds: {document['seeds']}; {sum(one['repeats'] for one in counts):,} of "
        f"{sum(one['total'] for one in counts):,} test targets are repeats.",
        "",
        "| N@10 | repeats | firsts | all |",
        "|---|---|---|---|",
    ]
    for name in said:
        cells = []
        for part in ("repeats", "firsts", "total"):
            values = document["ndcg@10"][name][part]
            cells.append(f"{sum(values) / len(values):.4f} ({', '.join(f'{value:.3f}' for value in values)})")
        lines.append(f"| {said[name]} | {' | '.join(cells)} |")
    for other in ("before", "kept"):
        changes = [document[f"now_minus_{other}"][part] for part in ("repeats", "firsts", "total")]
        cells = [f"{one['mean_difference']:+.4f} ({one['low']:+.4f} … {one['high']:+.4f})" for one in changes]
        lines.append(f"| now less {other}, 95 % | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def signals(path: Path) -> str:
    """Return the Markdown of what roles of events bring: N@10 of each round by arm, and what lists of it are worth."""
    document = json.loads(path.read_text())
    lines = [f"{document['processor']}, threads: {document['threads']}; `{document['command']}`", ""]
    for data in document["data"]:
        counts = [one["counts"] for one in data["rounds"]]
        arms = list(next(iter(data["rounds"][0]["systems"].values())))
        asked = ", ".join(f"{count['targets']:,}" for count in counts)
        lines += [
            f"**{data['name']}**: {counts[0]['users']:,} users, {counts[0]['items']:,} items, "
            f"{counts[0]['events']:,} events in the first of {len(counts)}; {asked} targets.",
            "",
            "| | N@10, mean | by seed | roles bring, 95 % | truly disliked | chance of an order |",
            "|---|---|---|---|---|---|",
        ]
        for system in data["rounds"][0]["systems"]:
            for arm in arms:
                of = [one["systems"][system][arm] for one in data["rounds"]]
                found = [one["ndcg@10"] for one in of]
                brought = data["roles_minus"][system].get(arm)
                over = "{mean_difference:+.4f} ({low:+.4f} … {high:+.4f})".format(**brought) if brought else ""
                truth = [
                    f"{sum(one[name] for one in of) / len(of):.2%}" if name in of[0] else "–"
                    for name in ("disliked", "purchase_probability")
                ]
                by_seed = ", ".join(f"{figure:.4f}" for figure in found)
                mean = sum(found) / len(found)
                lines.append(f"| {system}, {arm} | {mean:.4f} | {by_seed} | {over} | {' | '.join(truth)} |")
        lines.append("")
    return "\n".join(lines)


def new_items(path: Path) -> str:
    """Return the Markdown of how new items are seen and what that costs, means over seeds and their span."""
    document = json.loads(path.read_text())
    films, worlds = document["movielens"], document["worlds"]

    def cell(values: list[float], digits: int) -> str:
        low, middle, high = min(values), sum(values) / len(values), max(values)
        span = f" ({low:.{digits}f} … {high:.{digits}f})" if len(values) > 1 else ""
        return f"{middle:.{digits}f}{span}"

    asked, fitting = (sum(one[name] for one in films) for name in ("asked", "fitting"))
    lines = [
        f"MovieLens 100K, {len(films)} seeds, {films[0]['films']} films taken away each time; {asked:,} people are "
        f"asked, and their film fits {fitting:,} of them by its text. {document['processor']}.",
        "",
        "| `new_items` | their film, where it fits | their film | places of films taken away | N@10, known films |",
        "|---|---|---|---|---|",
    ]
    for wish in films[0]["wishes"]:
        found = [one["wishes"][wish] for one in films]
        cells = [cell([one[name] for one in found], 3) for name in ("found_fitting", "found", "new_share")]
        cells.append(cell([one["ndcg@10_known"] for one in found], 4))
        lines.append(f"| {wish} | {' | '.join(cells)} |")
    later = document.get("later")
    if later:
        asked_of = ", ".join(f"{part} ({count:,})" for part, count in later["asked"].items())
        lines += [
            "",
            f"{later['data']}: what people chose first after nine tenths of the events, asked of a generation of these "
            f"{later['events']:,} events and all {later['items']:,} items; by how often the item had been chosen: "
            f"{asked_of}. {later['processor']}.",
            "",
            "| `new_items` | cold, among the ten | 1 to 4 events | 5 and more | N@10 of cold | N@10 of all |",
            "|---|---|---|---|---|---|",
        ]
        for wish, parts in later["wishes"].items():
            cells = [f"{parts[part]['found']:.4f}" for part in ("cold", "1 to 4 events", "5 and more")]
            cells += [f"{parts[part]['ndcg@10']:.4f}" for part in ("cold", "all")]
            lines.append(f"| {wish} | {' | '.join(cells)} |")
    made, week_of_one = worlds[0], worlds[0]["policies"]["none"][0]
    orders = week_of_one["lists"] * week_of_one["bought"] / 1_000
    lines += [
        "",
        f"Made-up shops: {len(worlds)}, each of a seed, of {made['users']} people and {made['items']} items, "
        f"{made['new']} of them new; lists of ten for who comes, trained again after the first week. A week of one "
        "shop has about "
        f"{orders:.0f} orders, so luck alone moves *all bought* by {100 / orders**0.5:.0f} %.",
        "",
        "| `new_items` | week | places of new items | new ones bought, per 1,000 lists | all bought |",
        "|---|---|---|---|---|",
    ]
    for policy in made["policies"]:
        for week in range(len(made["policies"][policy])):
            found = [one["policies"][policy][week] for one in worlds]
            cells = [
                cell([one["new_share"] for one in found], 3),
                cell([one["new_bought"] for one in found], 1),
                cell([one["bought"] for one in found], 1),
            ]
            lines.append(f"| {policy} | {week + 1} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def monitoring(path: Path) -> str:
    """Return the Markdown of how often weeks as they are raise a false alarm, and what of known shifts is caught."""
    document = json.loads(path.read_text())
    shop, unchanged = document["shop"], document["unchanged"]
    low, high = (100 * end for end in unchanged["interval"])
    were = "was" if unchanged["found"] == 1 else "were"
    lines = [
        f"{document['seeds']} made-up shops of {shop['users']:,} users, {shop['items']:,} items and about "
        f"{shop['events']:,} events in {shop['days']} days. Of {unchanged['windows']:,} weeks as they are, at most "
        f"{100 * document['stated']:g} % of which shall be found to have changed, "
        f"**{unchanged['found']} {were}: {100 * unchanged['found'] / unchanged['windows']:.1f} %** "
        f"({low:.1f} to {high:.1f} %), {unchanged['alarms']} of them an alarm.",
        "",
        "| what was changed | seen by | alarms | 95 % |",
        "|---|---|---|---|",
    ]
    for name, part in document["shifts"].items():
        low, high = (100 * end for end in part["interval"])
        share = f"{part['caught']} of {part['trials']}"
        lines.append(f"| {name} | {' or '.join(part['by'])} | {share} | {low:.0f} to {high:.0f} % |")
    lines += ["", "| check, weeks as they are | tests | p below 5 % |", "|---|---|---|"]
    for name, part in unchanged["checks"].items():
        lines.append(f"| {name} | {part['tests']:,} | {100 * part['below_5_percent']:.1f} % |")
    return "\n".join([*lines, *answers_told(document["answers"]), ""])


def answers_told(told: dict[str, Any]) -> list[str]:
    """Return lines on what rates of answers were found to be, of equal generations and of worse ones."""
    lines = ["", "| two generations | looks | found | 95 % |", "|---|---|---|---|"]
    rows = [(f"equal, {turn}", part["looks"], part["found"], part["interval"]) for turn, part in told["equal"].items()]
    rows += [
        (f"one worse: {name}", part["trials"], part["caught"], part["interval"]) for name, part in told["worse"].items()
    ]
    lines += [
        f"| {name} | {looks:,} | {found} | {100 * low:.1f} to {100 * high:.1f} % |"
        for name, looks, found, (low, high) in rows
    ]
    shares = ", ".join(
        f"{name} {100 * part['below_5_percent']:.1f} % of {part['tests']:,}" for name, part in told["checks"].items()
    )
    return [*lines, "", f"Of equal ones p was below 5 %: {shares}."]
