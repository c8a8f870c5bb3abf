"""Where scans and labels come from: `kinds` registers each source, `fetch` runs one and replaces the cohort's files."""
