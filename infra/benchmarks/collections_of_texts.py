"""Catalogues with questions whose answers are known: what a search is measured on, made without outside data.

Two are asked by meaning, in words that the texts seldom hold: a help desk and a school's courses, both written for this
(``texts/``). Two are asked by name, in part: products of a shop and films, both drawn from a seed.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

SENTENCES = (
    "do you have the {}", "I am looking for {}", "where can I find {} please", "what is the price of the {}",
    "show me {}",
)  # fmt: skip
TEXTS = Path(__file__).parent / "texts"
BRANDS = (
    "Norvik", "Alto", "Brisk", "Calder", "Doremi", "Esker", "Fjord", "Granite", "Halden", "Iskra", "Juno", "Kestrel"
)  # fmt: skip
PRODUCTS = {
    "travel charger": "Charges two devices at once from any socket.",
    "electric kettle": "Boils a litre and a half and switches itself off.",
    "desk lamp": "A dimmable light with a long arm.",
    "robot vacuum": "Cleans carpet and parquet while nobody is at home.",
    "running shoe": "Light cushioning for long distances on asphalt.",
    "hiking backpack": "Carries thirty litres with a cover against rain.",
    "bluetooth speaker": "Plays for twelve hours and survives a shower.",
    "office chair": "Supports the back during a long day.",
    "cordless drill": "Two gears, one battery, a case.",
    "espresso machine": "Fifteen bar, a steam wand and a tray for cups.",
    "wall clock": "Runs silently for two years on one battery.",
    "cycling helmet": "Ventilated, adjustable, tested for speed.",
}
SERIES = ("XR", "KL", "VT", "MQ", "ZP", "DS")
INITIALS = "ABCDEFGHJKLMNPRSTVW"
SURNAMES = (
    "Varga", "Okafor", "Lindqvist", "Marchetti", "Dvorak", "Tanaka", "Reyes", "Holm", "Sadowski", "Petrov", "Abara",
    "Quist", "Bellamy", "Nakata", "Ferreira", "Oduya", "Zeller", "Kowal", "Amsel", "Thorne"
)  # fmt: skip
ADJECTIVES = ("Silent", "Crimson", "Broken", "Distant", "Paper", "Electric", "Hollow", "Golden", "Winter", "Last")
NOUNS = ("Harbour", "Orchard", "Witness", "Carousel", "Meridian", "Lantern", "Sonata", "Frontier", "Cathedral", "Tide")
GENRES = ("drama", "comedy", "thriller", "romance", "western", "horror", "animation", "documentary")


@dataclass(frozen=True)
class Question:
    """A query, and the items of which any is the answer."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """A catalogue and what is asked of it.

    Attributes:
        name: of the collection.
        asked_by: what its questions share with the answers: ``meaning`` or ``words``.
        items: rows of a catalogue, with ``item_id`` and ``title``.
        questions: of all items.
    """

    name: str
    asked_by: str
    items: list[dict[str, str]]
    questions: list[Question]


def help_desk() -> Collection:
    """Return the answers of a shop's help desk, and questions of people who do not know its words."""
    return _written("help desk", "help_desk.json")


def courses() -> Collection:
    """Return the courses of an evening school, and what people would like to learn."""
    return _written("courses", "courses.json")


def products(seed: int = 0, count: int = 144) -> Collection:
    """Return products with brand, model and kind; asked by model, by brand and kind, by brand and number."""
    rng = np.random.default_rng(seed)
    pairs = list(product(BRANDS, PRODUCTS))
    codes = [f"{series}-{number}" for series in SERIES for number in range(100, 400, 10)]
    chosen = [pairs[place] for place in rng.permutation(len(pairs))[:count]]
    models = [codes[place] for place in rng.permutation(len(codes))[:count]]
    items, questions = [], []
    for (brand, kind), model in zip(chosen, models, strict=True):
        item_id = f"{brand}-{model}".lower()
        items.append({"item_id": item_id, "title": f"{brand} {model} {kind}", "about": PRODUCTS[kind]})
        noun = kind.split()[-1]
        number = model.split("-")[1]
        forms = (f"{model} {noun}", f"{brand} {kind}", f"{brand} {number}", model.lower(), f"{noun} {brand}".lower())
        for form in forms:
            holding = [
                f"{other}-{name}".lower()
                for (other, what), name in zip(chosen, models, strict=True)
                if _holds(f"{other} {name} {what}", form)
            ]
            questions.append(Question(form, tuple(holding)))
    return Collection("products", "words", items, _distinct(questions))


def films(seed: int = 0, count: int = 160) -> Collection:
    """Return films with a director and a year; asked by a part of the title, by initials and name, by name and year."""
    rng = np.random.default_rng(seed)
    pairs = [f"The {adjective} {noun}" for adjective, noun in product(ADJECTIVES, NOUNS)]
    pairs += [f"{noun} of {surname}" for noun, surname in product(NOUNS, SURNAMES)]
    names = [pairs[place] for place in rng.permutation(len(pairs))[:count]]
    people = [
        f"{INITIALS[rng.integers(len(INITIALS))]}. {INITIALS[rng.integers(len(INITIALS))]}. {SURNAMES[place]}"
        for place in rng.integers(len(SURNAMES), size=count)
    ]
    rows = [
        (f"film-{number}", name, person, str(1950 + int(rng.integers(70))), GENRES[rng.integers(len(GENRES))])
        for number, (name, person) in enumerate(zip(names, people, strict=True))
    ]
    items = [
        {"item_id": item_id, "title": f"{name} ({year})", "director": person, "genre": genre}
        for item_id, name, person, year, genre in rows
    ]
    questions = []
    for _, name, person, year, _ in rows:
        surname = person.split()[-1]
        forms = (name.removeprefix("The ").lower(), person, f"{surname} {year}", f"{name.split()[-1]} {year}".lower())
        for form in forms:
            holding = [row[0] for row in rows if _holds(" ".join(row[1:4]), form)]
            questions.append(Question(form, tuple(holding)))
    return Collection("films", "words", items, _distinct(questions))


def in_sentences(collection: Collection) -> Collection:
    """Return a third of a collection's questions as somebody asks a person."""
    asked = [
        Question(SENTENCES[place % len(SENTENCES)].format(question.text), question.answers)
        for place, question in enumerate(collection.questions[::3])
    ]
    return replace(collection, name=f"{collection.name}, in sentences", questions=asked)


def by_key_words(collection: Collection, seed: int = 0) -> Collection:
    """Return a catalogue asked by two or three of the rare words of a text, three times each."""
    rng = np.random.default_rng(seed)
    texts = {item["item_id"]: _words(" ".join(item.values())) for item in collection.items}
    holding = Counter(word for words in texts.values() for word in set(words))
    asked = []
    for words in texts.values():
        rare = sorted({word for word in words if len(word) > 3}, key=lambda word: (holding[word], word))[:8]
        for count in (2, 2, 3):
            chosen = [rare[place] for place in rng.permutation(len(rare))[:count]]
            answers = tuple(item_id for item_id, other in texts.items() if set(chosen) <= set(other))
            asked.append(Question(" ".join(chosen), answers))
    return Collection(f"{collection.name}, key words", "words", collection.items, _distinct(asked))


def titles_in_part(items: Sequence[Mapping[str, str]], count: int = 300, seed: int = 0) -> list[Question]:
    """Return two words of a title each, of items drawn from any catalogue; what ten titles hold is not asked."""
    rng = np.random.default_rng(seed)
    words = {item["item_id"]: _words(item["title"]) for item in items}
    asked = []
    for place in rng.permutation(len(items))[:count]:
        own = [word for word in words[items[place]["item_id"]] if len(word) > 2 and not word.isdecimal()]
        chosen = [own[part] for part in sorted(rng.permutation(len(own))[:2])]
        answers = tuple(item_id for item_id, other in words.items() if set(chosen) <= set(other))
        if chosen and len(answers) < 10:
            asked.append(Question(" ".join(chosen), answers))
    return _distinct(asked)


def _written(name: str, file: str) -> Collection:
    rows = json.loads((TEXTS / file).read_text())
    ids = [f"{number:02d}" for number in range(len(rows))]
    items = [
        {"item_id": item_id, "title": row["title"], "about": row["text"]}
        for item_id, row in zip(ids, rows, strict=True)
    ]
    asked = [Question(text, (item_id,)) for item_id, row in zip(ids, rows, strict=True) for text in row["questions"]]
    return Collection(name, "meaning", items, asked)


def _holds(text: str, query: str) -> bool:
    return set(_words(query)) <= set(_words(text))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _distinct(questions: list[Question]) -> list[Question]:
    return list({question.text: question for question in questions}.values())
