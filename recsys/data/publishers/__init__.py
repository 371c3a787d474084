"""Data sets as their publishers ship them: ``recsys ingest --dataset NAME --path FOLDER_OR_ARCHIVE``.

A module for each publisher says which files there are and what events, items and users they hold. Nothing is
downloaded: most of these may be had by whoever agrees to their terms, and from their publishers' pages alone.
"""
