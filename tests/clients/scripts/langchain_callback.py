"""A model of LangChain's with the ClearML callback of langchain-community."""

import sys
import types

# The callback insists on both, and uses neither when it draws nothing and measures no complexity.
sys.modules["spacy"] = spacy = types.ModuleType("spacy")
sys.modules["textstat"] = types.ModuleType("textstat")
spacy.load = lambda name: None

from langchain_community.callbacks import ClearMLCallbackHandler  # noqa: E402
from langchain_core.language_models import FakeListLLM  # noqa: E402

callback = ClearMLCallbackHandler(
    task_type="inference", project_name="langchain", task_name="chain", tags=["tiny"], stream_logs=True,
    complexity_metrics=False, visualize=False,
)  # fmt: skip
model = FakeListLLM(responses=["the answer is 42", "no"], callbacks=[callback])
model.invoke("what is the answer?")
model.invoke("is it?")
callback.flush_tracker(name="talk", langchain_asset=model, finish=True)
