"""The runs that a user asks for, one file a verb. `run` takes a request that was checked; the function of the verb takes plain arguments."""
