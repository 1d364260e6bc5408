"""The front door for people: the command ``dpukit``, which loads each part only when it is asked for."""
