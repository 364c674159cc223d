"""Use cases over the tree: what one can do with a task. No global state; command line, page, agent and facade call these."""
