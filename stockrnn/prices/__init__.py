"""Price files → the price table."""
