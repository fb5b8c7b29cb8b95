"""Texts of our own to judge the classifier by; written apart from those that it was trained on."""

from typing import NamedTuple


class Given(NamedTuple):
    """A text, how a person reads it, and why it is here."""

    text: str
    label: str
    kind: str


_NEGATED = {
    "positive": (
        "The soup wasn't half bad.",
        "I have never been let down by this brand.",
        "Nobody in our group had a bad word to say about the guide.",
        "It's not expensive and it does not rattle.",
        "I wasn't bored for a single minute.",
        "You can't go wrong with these boots.",
        "Setting it up was no trouble at all.",
        "Not a dull moment from start to finish.",
    ),
    "negative": (
        "This is not what I would call a good dinner.",
        "I can't say I liked the second season.",
        "The heater doesn't warm the room and never has.",
        "Nothing about this trip was worth repeating.",
        "It isn't comfortable, and it isn't quiet either.",
        "Don't waste your money.",
        "The sequel is nowhere near as clever as the first one.",
        "Hardly a masterpiece.",
    ),
}
_PLAIN = {
    "positive": (
        "The zip feels solid and the bag has survived two winters.",
        "Finally a vacuum cleaner that picks up dog hair.",
        "A warm, funny film with a lead who lights up every scene.",
        "Our waiter remembered my daughter's allergy without being asked. Lovely place.",
        "Thanks for the quick fix, everything runs again!",
    ),
    "negative": (
        "The hinge snapped on the third day and support ignored me.",
        "Two hours of shouting and explosions, and I could not care less who won.",
        "My parcel was left in the rain and the books are ruined.",
        "The app crashes whenever I open the camera.",
        "I am so tired of being lied to.",
    ),
    "neutral": (
        "The library is on the second floor next to the archive.",
        "Copper melts at 1085 degrees Celsius.",
        "The director was born in Lisbon and studied law before turning to film.",
        "The charger is sold separately.",
        "We will meet in front of the museum at ten.",
        "Does the ticket include breakfast?",
        "The council will vote on the budget on Thursday.",
        "Run the command with the flag --verbose to see each step.",
    ),
}
_HARD = {
    "positive": ("I cried three times and went back the next day.", "sick beat, no skips"),
    "negative": (
        "Oh great, another Monday.",
        "Wow, a whole three hours of battery. Impressive.",
        "The company cut its forecast for the year after sales fell short.",
        "Beautiful hotel, but we found bedbugs.",
    ),
    "neutral": ("The patient died of the disease in 1854.", "Good morning, I have a question."),
}


def given() -> list[Given]:
    """All of them: negated, plain, hard."""
    parts = (("negated", _NEGATED), ("plain", _PLAIN), ("hard", _HARD))
    return [
        Given(text, label, kind)
        for kind, part in parts
        for label, texts in part.items()
        for text in texts
    ]
