"""Every verb: its name, where its code lies, and its one line of help, so that ``--help`` imports none of them.

Source: docs/reference/cli.md.
"""

from __future__ import annotations

from localtrack.records.plain import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the command line.

    Attributes:
        target: ``module:attribute`` of its click command.
        help: one line for listings.
        section: heading under which ``--help`` lists it.
    """

    target: str
    help: str
    section: str


LOOK, CHANGE, RUN, KEEP = "Look", "Change", "Run", "Look after the store"
SECTIONS = (LOOK, CHANGE, RUN, KEEP)
_HERE = "localtrack.cli."

VERBS: dict[str, Verb] = {
    "ls": Verb(f"{_HERE}listing:ls", "List and search tasks.", LOOK),
    "show": Verb(f"{_HERE}showing:show", "Show one task: status, code, parameters, metrics, artifacts.", LOOK),
    "log": Verb(f"{_HERE}console:log", "Print what a task printed; -f follows it.", LOOK),
    "scalars": Verb(f"{_HERE}scalars:scalars", "Show or export a task's scalars.", LOOK),
    "models": Verb(f"{_HERE}models:models", "List and search models.", LOOK),
    "diff": Verb(f"{_HERE}comparing:diff", "Show in what two tasks differ.", LOOK),
    "clone": Verb(f"{_HERE}editing:clone", "Make a draft from a task, with other parameters if wanted.", CHANGE),
    "set": Verb(f"{_HERE}editing:set_parameters", "Change parameters of a draft.", CHANGE),
    "tag": Verb(f"{_HERE}editing:tag", "Add (+tag) and remove (-tag) tags.", CHANGE),
    "mv": Verb(f"{_HERE}editing:mv", "Move a task to another project, or rename it.", CHANGE),
    "archive": Verb(f"{_HERE}editing:archive", "Hide tasks from listings.", CHANGE),
    "unarchive": Verb(f"{_HERE}editing:unarchive", "Show archived tasks again.", CHANGE),
    "model": Verb(f"{_HERE}models:model", "Show, publish, tag, remove and restore models.", CHANGE),
    "rm": Verb(f"{_HERE}trashing:rm", "Move tasks to the trash.", CHANGE),
    "restore": Verb(f"{_HERE}trashing:restore", "List the trash, or bring a task back from it.", CHANGE),
    "run": Verb(f"{_HERE}running:run", "Run a Python script with this Python.", RUN),
    "enqueue": Verb(f"{_HERE}queueing:enqueue", "Put tasks into a queue.", RUN),
    "dequeue": Verb(f"{_HERE}queueing:dequeue", "Take tasks out of their queue.", RUN),
    "queue": Verb(f"{_HERE}queueing:queue", "List, make, clear and reorder queues.", RUN),
    "agent": Verb(f"{_HERE}agents:agent", "Run queued tasks; list the agents.", RUN),
    "abort": Verb(f"{_HERE}running:abort", "Ask running tasks to stop.", RUN),
    "init": Verb(f"{_HERE}storing:init", "Make a store.", KEEP),
    "index": Verb(f"{_HERE}storing:index", "Rebuild or check the search index.", KEEP),
    "gc": Verb(f"{_HERE}trashing:gc", "Empty the trash and tidy up.", KEEP),
    "doctor": Verb(f"{_HERE}doctor:doctor", "Check the store and its file system.", KEEP),
    "demo": Verb(f"{_HERE}demo:demo", "Show the whole main job on a real training script.", KEEP),
    "completion": Verb(f"{_HERE}storing:completion", "Print the shell's completion script.", KEEP),
}
