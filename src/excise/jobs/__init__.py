"""The runs a user asks for, each one call: erase, generate, evaluate, apply. Importing these modules loads no torch."""
