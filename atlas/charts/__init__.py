"""Stage charts: the tables as charts, a page, and a report."""
