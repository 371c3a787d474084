"""Who may be offered, and how a list is put together: the catalogue, filters, diversity, limits."""
