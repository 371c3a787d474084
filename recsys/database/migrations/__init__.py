"""The way from each version of the database's tables to the next: one revision of Alembic a file, in ``versions/``.

A revision is written by hand, named ``r0002_what_it_does.py``, and never changed once it is released. It says all that
it needs itself, for the tables of ``recsys.database`` move on. Between releases workers of both run: it adds what may
be missing, and what is no longer read goes a release later. ``schema.py`` runs them; a test holds that they lead to the
tables that the code has.
"""
