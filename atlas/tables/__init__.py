"""Stage tables: all runs, aggregated to Parquet tables."""
