"""The identity of code: what it does, whose it is and what it loads. No code of the user's runs here, and no torch."""
