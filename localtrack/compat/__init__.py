"""What a program that was written for ClearML needs beyond Task and Logger.

``importable/`` holds the package ``clearml`` itself: thin modules that name what lies here and in the facade. It is no
part of the package ``localtrack``: it is imported where its folder stands on ``sys.path``.

Source: docs/how-to/switch-from-clearml.md.
"""
