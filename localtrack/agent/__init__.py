"""The agent: takes queued tasks, brings their code back, runs it, and tells truthfully how it ended."""
