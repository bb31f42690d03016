"""What each command is asked: its options, defaults and checks, without torch."""
