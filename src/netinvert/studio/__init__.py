"""The page in the browser: it calls what is below, and shows it."""
