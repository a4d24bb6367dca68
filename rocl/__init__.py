"""rocl: text classifiers for a language with little data, with help from a language with much."""

__version__ = "0.1.0"
