"""Lists for many users as Parquet files: what one generation answers at one moment, and what has changed since."""
