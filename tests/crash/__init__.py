"""What is left after real `kill -9`: a harness that kills, and an audit of the relay's log against the answers."""
