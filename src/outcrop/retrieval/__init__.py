"""From a question to hits: legs in parallel, fusion, explanations, snippets."""
