"""The language spoken on the wire: marshmallow and the standard library only."""
