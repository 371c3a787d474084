"""What a made-up shop is called and described by: categories and their goods, and two poles of words for each taste.

The words of a pole are near to one another for whoever reads English, so that a language model reads a taste in them.
"""

# category → what its items are; the consumable ones can be used up and are bought again
CONSUMABLE = {
    "Coffee": ("espresso beans", "filter coffee", "coffee pods", "decaf beans"),
    "Tea": ("green tea", "black tea", "herbal infusion", "rooibos"),
    "Pet food": ("cat food", "dog food", "bird seed", "puppy treats"),
    "Cosmetics": ("face cream", "shampoo", "body lotion", "lip balm"),
    "Cleaning": ("detergent", "dish soap", "glass cleaner", "descaler"),
    "Snacks": ("crackers", "trail mix", "chocolate bar", "potato chips"),
    "Vitamins": ("multivitamin", "fish oil", "protein powder", "magnesium"),
    "Baby care": ("diapers", "wet wipes", "baby lotion", "milk formula"),
    "Stationery": ("notebook", "gel pens", "printer paper", "sticky notes"),
    "Wine": ("red wine", "white wine", "sparkling wine", "rosé"),
    "Razors": ("razor blades", "shaving gel", "aftershave", "beard oil"),
    "Candles": ("scented candle", "tea lights", "pillar candle", "incense"),
}
DURABLE = {
    "Kitchen": ("coffee grinder", "frying pan", "kettle", "knife set"),
    "Furniture": ("armchair", "bookshelf", "desk", "side table"),
    "Lighting": ("floor lamp", "desk lamp", "pendant light", "lantern"),
    "Shoes": ("sneakers", "boots", "sandals", "loafers"),
    "Jackets": ("raincoat", "parka", "blazer", "fleece"),
    "Bags": ("backpack", "tote", "duffel", "messenger bag"),
    "Watches": ("wristwatch", "smartwatch", "chronograph", "watch strap"),
    "Phones": ("smartphone", "phone case", "charger", "screen protector"),
    "Audio": ("headphones", "speaker", "turntable", "microphone"),
    "Cameras": ("camera", "lens", "tripod", "memory card"),
    "Games": ("board game", "puzzle", "card game", "dice set"),
    "Toys": ("building blocks", "toy train", "plush bear", "kite"),
    "Books": ("novel", "cookbook", "atlas", "biography"),
    "Bicycles": ("city bike", "helmet", "bike lock", "pannier"),
    "Camping": ("tent", "sleeping bag", "camp stove", "headlamp"),
    "Fitness": ("yoga mat", "dumbbells", "jump rope", "foam roller"),
    "Garden": ("planter", "pruner", "watering can", "hammock"),
    "Tools": ("drill", "screwdriver set", "toolbox", "level"),
    "Bedding": ("duvet", "pillow", "bed sheets", "blanket"),
    "Jewellery": ("necklace", "ring", "earrings", "bracelet"),
    "Art": ("print", "canvas", "watercolours", "easel"),
    "Music": ("guitar", "keyboard", "ukulele", "drum pad"),
    "Travel": ("suitcase", "neck pillow", "packing cubes", "adapter"),
    "Computers": ("laptop", "keyboard tray", "monitor", "mouse"),
}
CATEGORIES = (*CONSUMABLE, *DURABLE)

# taste → words of its one end, and of its other
AXES = (
    (("rustic", "wooden", "handmade", "farmhouse", "weathered", "earthy"),
     ("sleek", "chrome", "minimal", "futuristic", "glossy", "metallic")),
    (("luxury", "premium", "elegant", "exclusive", "gilded", "refined"),
     ("budget", "simple", "basic", "everyday", "thrifty", "plain")),
    (("adventure", "rugged", "mountain", "wild", "storm", "expedition"),
     ("cozy", "indoor", "fireside", "soft", "snug", "homely")),
    (("playful", "colorful", "funny", "cheerful", "bright", "cartoon"),
     ("serious", "monochrome", "formal", "sober", "professional", "grey")),
    (("vintage", "retro", "classic", "antique", "nostalgic", "heritage"),
     ("modern", "digital", "smart", "wireless", "cutting-edge", "connected")),
    (("organic", "natural", "vegan", "botanical", "sustainable", "herbal"),
     ("synthetic", "industrial", "engineered", "polymer", "chemical", "technical")),
    (("athletic", "energetic", "fast", "strong", "racing", "power"),
     ("calm", "slow", "relaxing", "gentle", "peaceful", "meditative")),
    (("tropical", "summer", "beach", "sunny", "island", "citrus"),
     ("nordic", "winter", "snow", "frost", "arctic", "pine")),
    (("tiny", "compact", "pocket", "lightweight", "mini", "portable"),
     ("huge", "heavy", "giant", "massive", "oversized", "bulky")),
    (("romantic", "floral", "lace", "rose", "delicate", "pastel"),
     ("military", "tactical", "steel", "black", "combat", "armored")),
    (("scholarly", "scientific", "precise", "analytical", "expert", "academic"),
     ("artistic", "expressive", "poetic", "bohemian", "dreamy", "creative")),
    (("family", "children", "kids", "friendly", "shared", "parents"),
     ("solo", "private", "personal", "independent", "quiet", "single")),
    (("spicy", "bold", "intense", "dark", "fiery", "smoky"),
     ("mild", "sweet", "creamy", "vanilla", "light", "mellow")),
    (("urban", "city", "street", "metro", "concrete", "nightlife"),
     ("rural", "country", "village", "meadow", "farm", "orchard")),
    (("ceremonial", "festive", "gift", "holiday", "party", "celebration"),
     ("practical", "useful", "durable", "functional", "workshop", "utility")),
    (("oriental", "silk", "zen", "bamboo", "lotus", "jade"),
     ("western", "denim", "leather", "cowboy", "prairie", "canyon")),
)  # fmt: skip

# anybody's: words that say nothing
FILLERS = (
    "new", "made", "size", "set", "item", "choice", "daily", "version", "series", "kind", "range", "pack",
    "offer", "model", "piece", "quality", "value", "edition", "line", "style",
)  # fmt: skip

BRAND_BEGINNINGS = ("Al", "Bor", "Cas", "Del", "Em", "Fjor", "Gal", "Hel", "Ing", "Jun", "Kar", "Lum", "Mar", "Nov")
BRAND_ENDINGS = ("ando", "berg", "cora", "dell", "ena", "flint", "gora", "holm", "issa", "jor", "kind", "lane", "mont")
BRANDS = tuple(begin + end for end in BRAND_ENDINGS for begin in BRAND_BEGINNINGS)

# attribute of a user → value → how common it is
ATTRIBUTES = {
    "age_group": {"18-24": 3, "25-34": 5, "35-44": 4, "45-54": 3, "55-64": 2, "65+": 2},
    "country": {"DE": 5, "FR": 4, "US": 6, "GB": 4, "ES": 2, "PL": 2, "JP": 2, "BR": 2},
    "preferred_device": {"phone": 6, "desktop": 4, "tablet": 1},
    "occupation": {"student": 3, "engineer": 3, "teacher": 2, "nurse": 2, "artist": 1, "manager": 2, "retired": 2},
}
# how much a taste follows from each of them, beside the others
ATTRIBUTE_WEIGHTS = {"age_group": 1.0, "country": 0.5, "preferred_device": 0.3, "occupation": 0.8}
DEVICES = tuple(ATTRIBUTES["preferred_device"])
