"""Whether a home, its database and the machine are as they must be. Looks, tells, and writes nothing."""
