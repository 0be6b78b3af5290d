"""Programs that measure Postroom beside what else could send the same mail."""
