"""Named lists of a shop: a file a recipe, each of which says which items it proposes, in which order, and why."""
