"""The runs a user asks for, each one call: erase, generate, evaluate, measure, apply, restore. Importing these modules loads no torch."""
