"""Networks that several systems are built from."""
