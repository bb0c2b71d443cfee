"""What the canvas shows: objects with their members, extra things that are never evaluated, and styles.

Every member is one glyph of Noto Color Emoji. Names are chosen so that no member contains its object's name (an owl is a
bird, but the word "owl" does not say "bird"), so taking a word out of a prompt takes out exactly that word.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Object:
    """One evaluated object: its noun, plural, synonyms, and members as {name: emoji}."""

    name: str
    plural: str
    members: dict[str, str]
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Style:
    """One style: its name as prompts write it, and words that mean the same."""

    name: str
    synonyms: tuple[str, ...] = field(default=())


OBJECTS: tuple[Object, ...] = (
    Object("cat", "cats", {"tabby": "🐈", "kitten": "🐱", "panther": "🐈\u200d⬛"}, ("feline", "kitty")),
    Object("dog", "dogs", {"puppy": "🐶", "hound": "🐕", "poodle": "🐩", "retriever": "🦮"}, ("canine", "doggy")),
    Object(
        "bird",
        "birds",
        {"owl": "🦉", "eagle": "🦅", "parrot": "🦜", "penguin": "🐧", "flamingo": "🦩"},
        ("fowl", "birdie"),
    ),
    Object("flower", "flowers", {"rose": "🌹", "tulip": "🌷", "sunflower": "🌻", "hibiscus": "🌺"}, ("blossom", "bloom")),
    Object("tree", "trees", {"oak": "🌳", "pine": "🌲", "palm": "🌴"}, ("timber",)),
    Object("fish", "fishes", {"angelfish": "🐠", "pufferfish": "🐡", "shark": "🦈"}, ("seafish",)),
    Object(
        "fruit",
        "fruits",
        {"apple": "🍎", "banana": "🍌", "strawberry": "🍓", "grapes": "🍇", "pineapple": "🍍"},
        ("produce",),
    ),
    Object("car", "cars", {"sedan": "🚗", "taxi": "🚕", "jeep": "🚙"}, ("automobile", "motorcar")),
    Object("boat", "boats", {"sailboat": "⛵", "ferry": "⛴", "canoe": "🛶"}, ("vessel", "ship")),
    Object("house", "houses", {"cottage": "🏠", "castle": "🏰", "church": "⛪"}, ("building", "home")),
    Object("horse", "horses", {"stallion": "🐎", "unicorn": "🦄", "zebra": "🦓"}, ("equine", "steed")),
    Object("bear", "bears", {"grizzly": "🐻", "panda": "🐼", "koala": "🐨"}, ("bruin",)),
    Object("insect", "insects", {"butterfly": "🦋", "bee": "🐝", "ladybug": "🐞"}, ("bug",)),
    Object("hat", "hats", {"topper": "🎩", "crown": "👑", "cap": "🧢"}, ("headwear", "headgear")),
    Object("ball", "balls", {"football": "⚽", "basketball": "🏀", "baseball": "⚾"}, ("sphere", "orb")),
    Object("cake", "cakes", {"cupcake": "🧁", "shortcake": "🍰", "gateau": "🎂"}, ("dessert", "pastry")),
    Object("plane", "planes", {"airliner": "✈", "propeller": "🛩", "helicopter": "🚁"}, ("aircraft", "airplane")),
    Object("instrument", "instruments", {"guitar": "🎸", "violin": "🎻", "trumpet": "🎺"}, ()),
    Object("shoe", "shoes", {"sneaker": "👟", "heel": "👠", "boot": "👢"}, ("footwear",)),
    Object("clock", "clocks", {"alarm": "⏰", "watch": "⌚", "hourglass": "⌛"}, ("timepiece",)),
)

EXTRAS: dict[str, str] = {
    "key": "🔑", "lamp": "💡", "book": "📕", "phone": "☎", "bicycle": "🚲", "chair": "🪑", "mushroom": "🍄",
    "snowman": "⛄", "ghost": "👻", "robot": "🤖", "moon": "🌙", "star": "⭐", "heart": "❤", "umbrella": "☔",
    "scissors": "✂", "pizza": "🍕", "burger": "🍔", "bread": "🍞", "snail": "🐌", "octopus": "🐙", "crab": "🦀",
    "monkey": "🐵", "pig": "🐷", "cow": "🐮", "frog": "🐸", "snake": "🐍", "turtle": "🐢", "mouse": "🐭",
    "elephant": "🐘", "gift": "🎁", "balloon": "🎈", "bell": "🔔", "camera": "📷", "television": "📺", "anchor": "⚓",
    "gem": "💎", "candle": "🕯", "trophy": "🏆", "cactus": "🌵", "rocket": "🚀",
}  # fmt: skip

STYLES: tuple[Style, ...] = (
    Style("photo", ("photograph", "photographic")),
    Style("sketch", ("pencil", "drawing")),
    Style("pixel art", ("pixelated", "8bit")),
    Style("neon", ("glowing",)),
    Style("watercolor", ("aquarelle",)),
    Style("sepia", ("vintage",)),
    Style("blueprint", ("schematic",)),
    Style("mosaic", ("tiled",)),
)

OBJECT_NAMES: tuple[str, ...] = tuple(item.name for item in OBJECTS)
STYLE_NAMES: tuple[str, ...] = tuple(style.name for style in STYLES)
MEMBERS: tuple[tuple[str, str], ...] = tuple((item.name, member) for item in OBJECTS for member in item.members)
"""(object, member) of every member, in glyph-sheet order; extras follow them on the sheet."""

GLYPHS: tuple[str, ...] = tuple(name for _, name in MEMBERS) + tuple(EXTRAS)
"""Name of every glyph in sheet order; the index is the label of the classifier's member head."""

EMOJI: tuple[str, ...] = tuple(e for item in OBJECTS for e in item.members.values()) + tuple(EXTRAS.values())
"""The emoji of every glyph in sheet order."""

OTHER = len(OBJECTS)
"""Object label of an extra: one more than the evaluated objects."""

GLYPH_OBJECT: tuple[int, ...] = tuple(OBJECT_NAMES.index(name) for name, _ in MEMBERS) + (OTHER,) * len(EXTRAS)
"""Object label of every glyph, in sheet order."""


def check_names(names: Collection[str], glyphs: Sequence[str]) -> None:
    """Raise ValueError for a name that is no object, no style and none of these glyphs."""
    unknown = set(names) - {*OBJECT_NAMES, *glyphs, *STYLE_NAMES}
    if unknown:
        raise ValueError(f"the canvas has no {', '.join(sorted(unknown))}")
