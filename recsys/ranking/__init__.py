"""From scores to a list: the blend, the candidates, the rules and the reasons."""
