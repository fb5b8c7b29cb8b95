"""The many ways in which people ask for the same thing, drawn at random."""

import random
import string

from scripts.lm_training.texts import sections

_LINES = sections("wordings.txt")
# They end in an s but are no plurals.
_SINGULAR_ENDS = ("ss", "us", "ics", "is", "gas", "js", "dns", "css", "https", "pos", "sgd", "k8s")


def explain(chance: random.Random, name: str) -> str:
    """A question for what a thing is, how it works or what it is for."""
    asks = chance.random() < 0.5
    frame = chance.choice(_LINES["ask" if asks else "explain"])
    if chance.random() < 0.25:
        frame = _blurred(chance, frame)
    text = _filled(frame, name)
    return text if chance.random() < (0.85 if asks else 0.55) else _ended(chance, text)


def difference(chance: random.Random, a: str, b: str) -> str:
    """A question for what sets two things apart."""
    if chance.random() < 0.5:
        a, b = b, a
    if chance.random() < 0.5:
        a, b = bare(a), bare(b)
    return chance.choice(_LINES["difference"]).format(a=a, b=b, **{"is": "is"})


def capital(chance: random.Random, country: str) -> str:
    """A question for a country's capital."""
    name = bare(country) if chance.random() < 0.3 else country
    return chance.choice(_LINES["capital"]).format(x=name)


def dressed(chance: random.Random, text: str) -> str:
    """The prompt as somebody may type it: polite or not, hasty or not, now and then mistyped."""
    if chance.random() < 0.2:
        before = chance.choice(_LINES["before"])
        text = f"{before} {text[0].lower() + text[1:] if before.endswith(',') else text}"
    if text[-1] not in string.punctuation and chance.random() < 0.6:
        text += "."
    if chance.random() < 0.12:
        text += " " + chance.choice(_LINES["after"])
    return _typed(chance, text)


def system_prompt(chance: random.Random) -> str:
    """A system message as clients send them."""
    return chance.choice(_LINES["system"])


def bare(name: str) -> str:
    """The name without its article."""
    for article in ("a ", "an ", "the "):
        if name.startswith(article):
            return name[len(article) :]
    return name


def mistyped(chance: random.Random, text: str) -> str:
    """The text with one letter of a longer word left out, doubled or exchanged with the next."""
    places = [
        place
        for place in range(1, len(text) - 2)
        if all(letter.isalpha() for letter in text[place - 1 : place + 3])
    ]
    if not places:
        return text
    at = chance.choice(places)
    how = chance.randrange(3)
    if how == 0:
        return text[:at] + text[at + 1 :]
    if how == 1:
        return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _blurred(chance: random.Random, frame: str) -> str:
    """The frame with words left out or exchanged for others, as new wordings differ from known."""
    words = []
    for word in frame.split():
        how = chance.random()
        if "{" in word or how > 0.3:
            words.append(word)
        elif how < 0.15:
            other = chance.choice(_LINES["explain"]).split()
            words.append(chance.choice([word for word in other if "{" not in word] or [word]))
    return " ".join(words)


def _filled(frame: str, name: str) -> str:
    plural = _is_plural(name)
    text = frame.format(x=name, are="are" if plural else "is")
    return text[0].upper() + text[1:] if name[0].isupper() or name[:2] == "a " else text


def _is_plural(name: str) -> bool:
    return (
        name.endswith("s")
        and not name.startswith(("a ", "an ", "the "))
        and not name.lower().endswith(_SINGULAR_ENDS)
    )


def _ended(chance: random.Random, text: str) -> str:
    mark = text[-1] if text[-1] in "?.!" else ""
    return f"{text.removesuffix(mark)} {chance.choice(_LINES['ends'])}{mark}"


def _typed(chance: random.Random, text: str) -> str:
    if chance.random() < 0.12:
        text = mistyped(chance, text)
    haste = chance.random()
    if haste < 0.28:
        text = text.lower()
    elif haste < 0.3:
        text = text.upper()
    if chance.random() < 0.3:
        text = text.rstrip("?.! ")
    elif chance.random() < 0.03:
        text = text.rstrip("?. ") + chance.choice(("??", "?!", " ?", "!", "..."))
    return text.strip()
