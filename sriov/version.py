"""The one place where dpukit's version stands."""

VERSION = "0.1.0"
